/* attack - tries what a program is not to be able to. Its first argument says what. It returns 0 where everything was refused as it should be, the number of a line
 * where something was not, and does not return where it is to be ended. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wasi/api.h>

#define WANT(c) do { if (!(c)) return __LINE__; } while (0)
#define ROOT 3

static __wasi_errno_t open_raw(int dir, const char *path, size_t len, __wasi_oflags_t flags, __wasi_rights_t rights, __wasi_fd_t *fd)
{
	/* not wasi-libc's path functions, which would clean names up */
	extern __wasi_errno_t raw_open(int32_t, int32_t, const char *, size_t, int32_t, uint64_t, uint64_t, int32_t, __wasi_fd_t *)
		__attribute__((import_module("wasi_snapshot_preview1"), import_name("path_open")));
	return raw_open(dir, 1, path, len, flags, rights, rights, 0, fd);
}

#define OPEN(path, flags, rights) open_raw(ROOT, path, sizeof(path) - 1, flags, rights, &fd)

static int paths(void)
{
	__wasi_fd_t fd, dir;
	__wasi_filestat_t st;
	static const __wasi_rights_t rd = __WASI_RIGHTS_FD_READ, wr = __WASI_RIGHTS_FD_WRITE;
	static char longname[5000];

	/* out of the root, by name */
	WANT(OPEN("../outside.txt", 0, rd) == __WASI_ERRNO_NOTCAPABLE);
	WANT(OPEN("..", 0, rd) == __WASI_ERRNO_NOTCAPABLE);
	WANT(OPEN("sub/../../outside.txt", 0, rd) == __WASI_ERRNO_NOTCAPABLE);
	WANT(OPEN("/etc/passwd", 0, rd) == __WASI_ERRNO_NOTCAPABLE);
	WANT(OPEN("//etc/passwd", 0, rd) == __WASI_ERRNO_NOTCAPABLE);
	WANT(OPEN("sub\\..\\..\\x", 0, rd) == __WASI_ERRNO_NOTCAPABLE);
	WANT(OPEN("in.txt\0x", 0, rd) == __WASI_ERRNO_INVAL);
	WANT(OPEN("", 0, rd) == __WASI_ERRNO_NOENT);
	memset(longname, 'x', sizeof longname);
	WANT(open_raw(ROOT, longname, sizeof longname, 0, rd, &fd) == __WASI_ERRNO_NAMETOOLONG);
	WANT(open_raw(ROOT, longname, 4000, 0, rd, &fd) != __WASI_ERRNO_SUCCESS);
	/* by links that somebody left there: to a file, to a directory, absolute */
	WANT(OPEN("link", 0, rd) != __WASI_ERRNO_SUCCESS);
	WANT(OPEN("link", __WASI_OFLAGS_TRUNC, wr) != __WASI_ERRNO_SUCCESS);
	WANT(OPEN("updir/outside.txt", 0, rd) != __WASI_ERRNO_SUCCESS);
	WANT(OPEN("updir/new.txt", __WASI_OFLAGS_CREAT, wr) != __WASI_ERRNO_SUCCESS);
	WANT(OPEN("passwd", 0, rd) != __WASI_ERRNO_SUCCESS);
	WANT(__wasi_path_filestat_get(ROOT, 1, "link", &st) != __WASI_ERRNO_SUCCESS);
	WANT(__wasi_path_create_directory(ROOT, "updir/d") != __WASI_ERRNO_SUCCESS);
	WANT(__wasi_path_rename(ROOT, "in.txt", ROOT, "updir/in.txt") != __WASI_ERRNO_SUCCESS);
	WANT(__wasi_path_unlink_file(ROOT, "updir/outside.txt") != __WASI_ERRNO_SUCCESS);
	WANT(__wasi_path_rename(ROOT, "in.txt", ROOT, "../in.txt") == __WASI_ERRNO_NOTCAPABLE);
	WANT(__wasi_path_unlink_file(ROOT, "../outside.txt") == __WASI_ERRNO_NOTCAPABLE);
	WANT(__wasi_path_remove_directory(ROOT, ".") == __WASI_ERRNO_INVAL);
	/* links are not made */
	WANT(__wasi_path_symlink("/etc/passwd", ROOT, "mine") == __WASI_ERRNO_NOTSUP);
	WANT(__wasi_path_link(ROOT, 0, "in.txt", ROOT, "hard") == __WASI_ERRNO_NOTSUP);
	/* a directory that was opened is no way up either */
	WANT(open_raw(ROOT, "sub", 3, __WASI_OFLAGS_DIRECTORY, rd | __WASI_RIGHTS_PATH_OPEN | __WASI_RIGHTS_FD_READDIR, &dir) == 0);
	WANT(open_raw((int)dir, "../in.txt", 9, 0, rd, &fd) == __WASI_ERRNO_NOTCAPABLE);
	WANT(open_raw((int)dir, "deep.txt", 8, 0, rd, &fd) == 0);
	WANT(__wasi_fd_close(fd) == 0 && __wasi_fd_close(fd) == __WASI_ERRNO_BADF);
	/* neither a pipe, which would wait for ever, nor another directory to be had by number */
	WANT(OPEN("pipe", 0, rd) != __WASI_ERRNO_SUCCESS);
	for (int n = 4; n < 100; n++) {
		__wasi_prestat_t ps;

		WANT(n == (int)dir || __wasi_fd_prestat_get((__wasi_fd_t)n, &ps) == __WASI_ERRNO_BADF);
	}
	/* what is there is still to be had */
	WANT(OPEN("in.txt", 0, rd) == 0 && __wasi_fd_close(fd) == 0);
	WANT(OPEN("sub/../in.txt", 0, rd) == 0);
	return 0;
}

static int descriptors(void)
{
	int n = 0, last = -1, fd;

	while ((fd = open("in.txt", O_RDONLY)) >= 0) {
		last = fd;
		WANT(++n < 1000);
	}
	WANT(errno == EMFILE && n > 10);
	WANT(close(last) == 0 && open("in.txt", O_RDONLY) == last);
	WANT(open("in.txt", O_RDONLY) < 0);
	WANT(__wasi_fd_renumber(4, 0xffffffff) == __WASI_ERRNO_BADF && __wasi_fd_renumber(0x80000000, 4) == __WASI_ERRNO_BADF);
	WANT(__wasi_fd_renumber(4, 5) == 0 && __wasi_fd_close(4) == __WASI_ERRNO_BADF);
	return 0;
}

static int pointers(void)
{
	static __wasi_iovec_t v[2000];
	static __wasi_ciovec_t w[2000];
	static uint8_t buf[256];
	__wasi_size_t n;
	__wasi_fd_t fd = 0;
	uint8_t *far = (uint8_t *)0xfffffff0;
	__wasi_filesize_t at;
	__wasi_event_t *ev = (void *)buf;

	WANT(OPEN("in.txt", 0, __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_SEEK | __WASI_RIGHTS_FD_TELL) == 0);
	WANT(__wasi_fd_read(fd, v, 0xffffffff, &n) == __WASI_ERRNO_INVAL && __wasi_fd_read(fd, v, 1025, &n) == __WASI_ERRNO_INVAL);
	WANT(__wasi_fd_read(fd, (void *)far, 4, &n) == __WASI_ERRNO_FAULT);
	v[0] = (__wasi_iovec_t){far, 100};
	WANT(__wasi_fd_read(fd, v, 1, &n) == __WASI_ERRNO_FAULT);
	v[0] = (__wasi_iovec_t){buf, 0xffffffff};
	WANT(__wasi_fd_read(fd, v, 1, &n) == __WASI_ERRNO_FAULT);
	v[0] = (__wasi_iovec_t){buf, 4};
	WANT(__wasi_fd_read(fd, v, 1, (void *)far) == __WASI_ERRNO_SUCCESS || 1);
	WANT(__wasi_fd_read(fd, v, 1, (void *)0xfffffffe) == __WASI_ERRNO_FAULT);
	/* buffers that are the list itself, and each other: whatever is read, it is within our memory */
	for (int k = 0; k < 1000; k++)
		v[k] = (__wasi_iovec_t){(uint8_t *)v, sizeof v};
	WANT(__wasi_fd_read(fd, v, 1000, &n) == 0 && n <= 1 << 20);
	for (int k = 0; k < 1024; k++)
		w[k] = (__wasi_ciovec_t){(uint8_t *)v, sizeof v};
	WANT(__wasi_fd_write(1, w, 1024, &n) == 0 && n <= 1 << 20);
	WANT(__wasi_fd_seek(fd, INT64_MIN, 0, &at) != 0 && __wasi_fd_seek(fd, 0, 77, &at) == __WASI_ERRNO_INVAL);
	v[0] = (__wasi_iovec_t){buf, 4};
	WANT(__wasi_fd_pread(fd, v, 1, UINT64_MAX, &n) == __WASI_ERRNO_INVAL);
	WANT(__wasi_fd_write(fd, w, 1, &n) == __WASI_ERRNO_NOTCAPABLE);
	WANT(__wasi_fd_filestat_set_size(fd, 5) == __WASI_ERRNO_NOTCAPABLE);
	WANT(__wasi_fd_readdir(ROOT, far, 0x100, 0, &n) == __WASI_ERRNO_FAULT && __wasi_fd_readdir(ROOT, buf, sizeof buf, UINT64_MAX, &n) == __WASI_ERRNO_INVAL);
	WANT(__wasi_random_get(far, 100) == __WASI_ERRNO_FAULT && __wasi_random_get(buf, 0x7fffffff) == __WASI_ERRNO_INVAL);
	WANT(__wasi_clock_time_get(0, 1, (void *)far) == 0 || 1);
	WANT(__wasi_clock_time_get(99, 1, (void *)buf) == __WASI_ERRNO_INVAL);
	WANT(__wasi_args_get((void *)far, buf) == __WASI_ERRNO_FAULT && __wasi_environ_sizes_get(&n, (void *)0xfffffffd) == __WASI_ERRNO_FAULT);
	WANT(__wasi_poll_oneoff((void *)buf, ev, 0, &n) == __WASI_ERRNO_INVAL && __wasi_poll_oneoff((void *)buf, ev, 0xffffffff, &n) == __WASI_ERRNO_INVAL);
	WANT(__wasi_poll_oneoff((void *)far, ev, 1, &n) == __WASI_ERRNO_FAULT);
	/* rights that were given up do not come back */
	WANT(__wasi_fd_fdstat_set_rights(fd, 0, 0) == 0 && __wasi_fd_read(fd, v, 1, &n) == __WASI_ERRNO_NOTCAPABLE);
	WANT(__wasi_fd_fdstat_set_rights(fd, __WASI_RIGHTS_FD_READ, 0) == __WASI_ERRNO_NOTCAPABLE);
	return 0;
}

static int sockets(void)
{
	__wasi_iovec_t v = {0, 0};
	__wasi_ciovec_t w = {0, 0};
	__wasi_size_t n;
	__wasi_roflags_t f;

	WANT(__wasi_sock_recv(0, &v, 1, 0, &n, &f) == __WASI_ERRNO_NOTSUP && __wasi_sock_send(1, &w, 1, 0, &n) == __WASI_ERRNO_NOTSUP);
	WANT(__wasi_sock_shutdown(3, 1) == __WASI_ERRNO_NOTSUP);
	return 0;
}

/* Writes as much as it may, and makes as many files as it may. */
static int quota(void)
{
	static char block[65536];
	long done = 0;
	int fd = open("big", O_CREAT | O_WRONLY | O_TRUNC, 0600), n;

	WANT(fd >= 0);
	for (;;) {
		ssize_t k = write(fd, block, sizeof block);

		if (k < 0)
			break;
		done += k;
		WANT(done < 100 << 20);
	}
	WANT(errno == EDQUOT && done > 0);
	WANT(ftruncate(fd, (off_t)1 << 40) < 0 && ftruncate(fd, 10) == 0);
	close(fd);
	for (n = 0; n < 100000; n++) {
		char name[32];

		snprintf(name, sizeof name, "n%d", n);
		fd = open(name, O_CREAT | O_WRONLY, 0600);
		if (fd < 0)
			break;
		close(fd);
		unlink(name);
	}
	WANT(errno == EDQUOT && n < 10000 && mkdir("d", 0700) < 0);
	return 0;
}

static int chatter(void)
{
	for (int k = 0; k < 200000; k++)
		printf("line %d of very many\n", k);
	return 0;
}

static void *volatile keep;

static int memory(void)
{
	size_t got = 0;

	for (void *p; (p = malloc(1 << 20)); got++) {
		keep = memset(p, 1, 1 << 20);
		WANT(got < 1000);
	}
	return got > 2 ? 0 : __LINE__;
}

static volatile unsigned sink;

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "paths"))
		return paths();
	if (!strcmp(what, "descriptors"))
		return descriptors();
	if (!strcmp(what, "pointers"))
		return pointers();
	if (!strcmp(what, "sockets"))
		return sockets();
	if (!strcmp(what, "quota"))
		return quota();
	if (!strcmp(what, "chatter"))
		return chatter();
	if (!strcmp(what, "memory"))
		return memory();
	if (!strcmp(what, "loop"))
		for (puts("on"), fflush(stdout);;)
			sink++;
	if (!strcmp(what, "sleep")) {
		puts("on");
		fflush(stdout);
		for (;;)
			sleep(1000000000);
	}
	if (!strcmp(what, "naps"))
		for (puts("on"), fflush(stdout);;)
			usleep(1);
	if (!strcmp(what, "nofiles"))
		return open("in.txt", O_RDONLY) < 0 ? 0 : __LINE__;
	if (!strcmp(what, "abort"))
		abort();
	if (!strcmp(what, "exit"))
		exit(42);
	return 99;
}
