/* fuzz - makes the calls that its standard input says: for each a byte, which one, and nine arguments of 8 bytes. Addresses are cut to a little more than the
 * memory has, so that many are in it. It is a test's, and written by hand but for the list. */
#include <stdint.h>
#include <unistd.h>

#define CALL(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name)))

CALL(args_get) int32_t raw_args_get(int32_t, int32_t);
CALL(args_sizes_get) int32_t raw_args_sizes_get(int32_t, int32_t);
CALL(environ_get) int32_t raw_environ_get(int32_t, int32_t);
CALL(environ_sizes_get) int32_t raw_environ_sizes_get(int32_t, int32_t);
CALL(clock_res_get) int32_t raw_clock_res_get(int32_t, int32_t);
CALL(clock_time_get) int32_t raw_clock_time_get(int32_t, int64_t, int32_t);
CALL(fd_advise) int32_t raw_fd_advise(int32_t, int64_t, int64_t, int32_t);
CALL(fd_allocate) int32_t raw_fd_allocate(int32_t, int64_t, int64_t);
CALL(fd_close) int32_t raw_fd_close(int32_t);
CALL(fd_datasync) int32_t raw_fd_datasync(int32_t);
CALL(fd_fdstat_get) int32_t raw_fd_fdstat_get(int32_t, int32_t);
CALL(fd_fdstat_set_flags) int32_t raw_fd_fdstat_set_flags(int32_t, int32_t);
CALL(fd_fdstat_set_rights) int32_t raw_fd_fdstat_set_rights(int32_t, int64_t, int64_t);
CALL(fd_filestat_get) int32_t raw_fd_filestat_get(int32_t, int32_t);
CALL(fd_filestat_set_size) int32_t raw_fd_filestat_set_size(int32_t, int64_t);
CALL(fd_filestat_set_times) int32_t raw_fd_filestat_set_times(int32_t, int64_t, int64_t, int32_t);
CALL(fd_pread) int32_t raw_fd_pread(int32_t, int32_t, int32_t, int64_t, int32_t);
CALL(fd_prestat_get) int32_t raw_fd_prestat_get(int32_t, int32_t);
CALL(fd_prestat_dir_name) int32_t raw_fd_prestat_dir_name(int32_t, int32_t, int32_t);
CALL(fd_pwrite) int32_t raw_fd_pwrite(int32_t, int32_t, int32_t, int64_t, int32_t);
CALL(fd_read) int32_t raw_fd_read(int32_t, int32_t, int32_t, int32_t);
CALL(fd_readdir) int32_t raw_fd_readdir(int32_t, int32_t, int32_t, int64_t, int32_t);
CALL(fd_renumber) int32_t raw_fd_renumber(int32_t, int32_t);
CALL(fd_seek) int32_t raw_fd_seek(int32_t, int64_t, int32_t, int32_t);
CALL(fd_sync) int32_t raw_fd_sync(int32_t);
CALL(fd_tell) int32_t raw_fd_tell(int32_t, int32_t);
CALL(fd_write) int32_t raw_fd_write(int32_t, int32_t, int32_t, int32_t);
CALL(path_create_directory) int32_t raw_path_create_directory(int32_t, int32_t, int32_t);
CALL(path_filestat_get) int32_t raw_path_filestat_get(int32_t, int32_t, int32_t, int32_t, int32_t);
CALL(path_filestat_set_times) int32_t raw_path_filestat_set_times(int32_t, int32_t, int32_t, int32_t, int64_t, int64_t, int32_t);
CALL(path_link) int32_t raw_path_link(int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t);
CALL(path_open) int32_t raw_path_open(int32_t, int32_t, int32_t, int32_t, int32_t, int64_t, int64_t, int32_t, int32_t);
CALL(path_readlink) int32_t raw_path_readlink(int32_t, int32_t, int32_t, int32_t, int32_t, int32_t);
CALL(path_remove_directory) int32_t raw_path_remove_directory(int32_t, int32_t, int32_t);
CALL(path_rename) int32_t raw_path_rename(int32_t, int32_t, int32_t, int32_t, int32_t, int32_t);
CALL(path_symlink) int32_t raw_path_symlink(int32_t, int32_t, int32_t, int32_t, int32_t);
CALL(path_unlink_file) int32_t raw_path_unlink_file(int32_t, int32_t, int32_t);
CALL(poll_oneoff) int32_t raw_poll_oneoff(int32_t, int32_t, int32_t, int32_t);
CALL(proc_raise) int32_t raw_proc_raise(int32_t);
CALL(sched_yield) int32_t raw_sched_yield(void);
CALL(random_get) int32_t raw_random_get(int32_t, int32_t);
CALL(sock_accept) int32_t raw_sock_accept(int32_t, int32_t, int32_t);
CALL(sock_recv) int32_t raw_sock_recv(int32_t, int32_t, int32_t, int32_t, int32_t, int32_t);
CALL(sock_send) int32_t raw_sock_send(int32_t, int32_t, int32_t, int32_t, int32_t);
CALL(sock_shutdown) int32_t raw_sock_shutdown(int32_t, int32_t);

static uint8_t script[1 << 14];
static uint8_t room[1 << 14]; /* what calls may write to without spoiling the script */

int main(void)
{
	ssize_t n = read(0, script, sizeof script);

	for (ssize_t at = 0; at + 73 <= n; at += 73) {
		uint64_t a[9];

		for (int k = 0; k < 9; k++) {
			__builtin_memcpy(&a[k], script + at + 1 + 8 * k, 8);
			switch (a[k] >> 61) { /* numbers that mean something, more often than chance has it */
			case 1:
				a[k] = (uintptr_t)room + (a[k] & 0x3fff);
				break;
			case 2:
				a[k] = (uintptr_t)script + (a[k] & 0x3fff);
				break;
			case 3:
				a[k] &= 0xff;
				break;
			case 4:
				a[k] &= 0x3fffff;
				break;
			}
		}
		switch (script[at] % 45) {
	case 0:
		raw_args_get((int32_t)a[0], (int32_t)a[1]);
		break;
	case 1:
		raw_args_sizes_get((int32_t)a[0], (int32_t)a[1]);
		break;
	case 2:
		raw_environ_get((int32_t)a[0], (int32_t)a[1]);
		break;
	case 3:
		raw_environ_sizes_get((int32_t)a[0], (int32_t)a[1]);
		break;
	case 4:
		raw_clock_res_get((int32_t)a[0], (int32_t)a[1]);
		break;
	case 5:
		raw_clock_time_get((int32_t)a[0], (int64_t)a[1], (int32_t)a[2]);
		break;
	case 6:
		raw_fd_advise((int32_t)a[0], (int64_t)a[1], (int64_t)a[2], (int32_t)a[3]);
		break;
	case 7:
		raw_fd_allocate((int32_t)a[0], (int64_t)a[1], (int64_t)a[2]);
		break;
	case 8:
		raw_fd_close((int32_t)a[0]);
		break;
	case 9:
		raw_fd_datasync((int32_t)a[0]);
		break;
	case 10:
		raw_fd_fdstat_get((int32_t)a[0], (int32_t)a[1]);
		break;
	case 11:
		raw_fd_fdstat_set_flags((int32_t)a[0], (int32_t)a[1]);
		break;
	case 12:
		raw_fd_fdstat_set_rights((int32_t)a[0], (int64_t)a[1], (int64_t)a[2]);
		break;
	case 13:
		raw_fd_filestat_get((int32_t)a[0], (int32_t)a[1]);
		break;
	case 14:
		raw_fd_filestat_set_size((int32_t)a[0], (int64_t)a[1]);
		break;
	case 15:
		raw_fd_filestat_set_times((int32_t)a[0], (int64_t)a[1], (int64_t)a[2], (int32_t)a[3]);
		break;
	case 16:
		raw_fd_pread((int32_t)a[0], (int32_t)a[1], (int32_t)a[2], (int64_t)a[3], (int32_t)a[4]);
		break;
	case 17:
		raw_fd_prestat_get((int32_t)a[0], (int32_t)a[1]);
		break;
	case 18:
		raw_fd_prestat_dir_name((int32_t)a[0], (int32_t)a[1], (int32_t)a[2]);
		break;
	case 19:
		raw_fd_pwrite((int32_t)a[0], (int32_t)a[1], (int32_t)a[2], (int64_t)a[3], (int32_t)a[4]);
		break;
	case 20:
		raw_fd_read((int32_t)a[0], (int32_t)a[1], (int32_t)a[2], (int32_t)a[3]);
		break;
	case 21:
		raw_fd_readdir((int32_t)a[0], (int32_t)a[1], (int32_t)a[2], (int64_t)a[3], (int32_t)a[4]);
		break;
	case 22:
		raw_fd_renumber((int32_t)a[0], (int32_t)a[1]);
		break;
	case 23:
		raw_fd_seek((int32_t)a[0], (int64_t)a[1], (int32_t)a[2], (int32_t)a[3]);
		break;
	case 24:
		raw_fd_sync((int32_t)a[0]);
		break;
	case 25:
		raw_fd_tell((int32_t)a[0], (int32_t)a[1]);
		break;
	case 26:
		raw_fd_write((int32_t)a[0], (int32_t)a[1], (int32_t)a[2], (int32_t)a[3]);
		break;
	case 27:
		raw_path_create_directory((int32_t)a[0], (int32_t)a[1], (int32_t)a[2]);
		break;
	case 28:
		raw_path_filestat_get((int32_t)a[0], (int32_t)a[1], (int32_t)a[2], (int32_t)a[3], (int32_t)a[4]);
		break;
	case 29:
		raw_path_filestat_set_times((int32_t)a[0], (int32_t)a[1], (int32_t)a[2], (int32_t)a[3], (int64_t)a[4], (int64_t)a[5], (int32_t)a[6]);
		break;
	case 30:
		raw_path_link((int32_t)a[0], (int32_t)a[1], (int32_t)a[2], (int32_t)a[3], (int32_t)a[4], (int32_t)a[5], (int32_t)a[6]);
		break;
	case 31:
		raw_path_open((int32_t)a[0], (int32_t)a[1], (int32_t)a[2], (int32_t)a[3], (int32_t)a[4], (int64_t)a[5], (int64_t)a[6], (int32_t)a[7], (int32_t)a[8]);
		break;
	case 32:
		raw_path_readlink((int32_t)a[0], (int32_t)a[1], (int32_t)a[2], (int32_t)a[3], (int32_t)a[4], (int32_t)a[5]);
		break;
	case 33:
		raw_path_remove_directory((int32_t)a[0], (int32_t)a[1], (int32_t)a[2]);
		break;
	case 34:
		raw_path_rename((int32_t)a[0], (int32_t)a[1], (int32_t)a[2], (int32_t)a[3], (int32_t)a[4], (int32_t)a[5]);
		break;
	case 35:
		raw_path_symlink((int32_t)a[0], (int32_t)a[1], (int32_t)a[2], (int32_t)a[3], (int32_t)a[4]);
		break;
	case 36:
		raw_path_unlink_file((int32_t)a[0], (int32_t)a[1], (int32_t)a[2]);
		break;
	case 37:
		raw_poll_oneoff((int32_t)a[0], (int32_t)a[1], (int32_t)a[2], (int32_t)a[3]);
		break;
	case 38:
		raw_proc_raise((int32_t)a[0]);
		break;
	case 39:
		raw_sched_yield();
		break;
	case 40:
		raw_random_get((int32_t)a[0], (int32_t)a[1]);
		break;
	case 41:
		raw_sock_accept((int32_t)a[0], (int32_t)a[1], (int32_t)a[2]);
		break;
	case 42:
		raw_sock_recv((int32_t)a[0], (int32_t)a[1], (int32_t)a[2], (int32_t)a[3], (int32_t)a[4], (int32_t)a[5]);
		break;
	case 43:
		raw_sock_send((int32_t)a[0], (int32_t)a[1], (int32_t)a[2], (int32_t)a[3], (int32_t)a[4]);
		break;
	case 44:
		raw_sock_shutdown((int32_t)a[0], (int32_t)a[1]);
		break;
		}
	}
	return 0;
}
