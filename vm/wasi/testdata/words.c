/* words - counts the words of files. An ordinary program, which knows nothing of where it runs:
 *
 *	words FILE...           the ten most frequent words, and into FILE.count how many there are
 *	words -l DIR            what is in a directory, with sizes
 *	words                   of the standard input
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct word {
	char *text;
	long count;
	struct word *next;
};

static struct word *table[4096];
static long total, distinct;

static void add(const char *text)
{
	unsigned h = 5381;

	for (const char *c = text; *c; c++)
		h = h * 33 + (unsigned char)*c;
	struct word **at = &table[h % 4096], *w;
	for (w = *at; w; w = w->next)
		if (strcmp(w->text, text) == 0)
			break;
	if (!w) {
		w = malloc(sizeof *w);
		w->text = strdup(text);
		w->count = 0;
		w->next = *at;
		*at = w;
		distinct++;
	}
	w->count++;
	total++;
}

static int more(const void *a, const void *b)
{
	const struct word *x = *(struct word *const *)a, *y = *(struct word *const *)b;

	if (x->count != y->count)
		return x->count < y->count ? 1 : -1;
	return strcmp(x->text, y->text);
}

static void count(FILE *f)
{
	char word[64];
	int n = 0, c;

	while ((c = getc(f)) != EOF) {
		if (isalpha(c) && n < 63) {
			word[n++] = (char)tolower(c);
		} else if (n > 0) {
			word[n] = 0;
			add(word);
			n = 0;
		}
	}
	if (n > 0) {
		word[n] = 0;
		add(word);
	}
}

static void report(void)
{
	struct word **all = calloc((size_t)distinct + 1, sizeof *all);
	long k = 0;

	for (int i = 0; i < 4096; i++)
		for (struct word *w = table[i]; w; w = w->next)
			all[k++] = w;
	qsort(all, (size_t)k, sizeof *all, more);
	for (long i = 0; i < k && i < 10; i++)
		printf("%6ld %5.1f%% %s\n", all[i]->count, 100.0 * (double)all[i]->count / (double)total, all[i]->text);
	printf("%ld words, %ld distinct\n", total, distinct);
	free(all);
}

static int list(const char *name)
{
	struct dirent *e;
	DIR *d = opendir(name);

	if (!d) {
		fprintf(stderr, "words: %s: %s\n", name, strerror(errno));
		return 1;
	}
	while ((e = readdir(d))) {
		char path[1024];
		struct stat st;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", name, e->d_name);
		if (stat(path, &st) == 0)
			printf("%8lld %c %s\n", (long long)st.st_size, S_ISDIR(st.st_mode) ? 'd' : 'f', e->d_name);
		else
			printf("%8s ? %s\n", "-", e->d_name);
	}
	closedir(d);
	return 0;
}

int main(int argc, char **argv)
{
	const char *greet = getenv("GREETING");
	time_t now = time(NULL);

	if (greet)
		printf("%s\n", greet);
	if (now < 1000000000) {
		fprintf(stderr, "words: the clock is wrong\n");
		return 3;
	}
	if (argc > 2 && strcmp(argv[1], "-l") == 0)
		return list(argv[2]);
	if (argc == 1) {
		count(stdin);
		report();
		return 0;
	}
	for (int i = 1; i < argc; i++) {
		char out[1024];
		long before = total;
		FILE *f = fopen(argv[i], "r");

		if (!f) {
			fprintf(stderr, "words: %s: %s\n", argv[i], strerror(errno));
			return 2;
		}
		count(f);
		fclose(f);
		snprintf(out, sizeof out, "%s.count", argv[i]);
		f = fopen(out, "w");
		if (!f || fprintf(f, "%ld\n", total - before) < 0 || fclose(f) != 0) {
			fprintf(stderr, "words: %s: %s\n", out, strerror(errno));
			return 2;
		}
	}
	report();
	return 0;
}
