/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/ioctl.h>
#include <termios.h>
#include <wchar.h>

#include "screen.h"

#define ENTER "\033[?1049h\033[?25l\033[H\033[2J"
#define LEAVE "\033[?25h\033[?1049l"
#define ROWS_DEFAULT 24
#define COLUMNS_DEFAULT 80

static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH };

static struct {
	bool open, has_termios;
	struct termios termios; /* as it was */
	sigset_t before;	/* the signals that were blocked before */
	struct sigaction actions[ARRAY_SIZE(signals)];
} screen;

static volatile sig_atomic_t ending, stopping, resized;

static void on_signal(int number)
{
	if (number == SIGWINCH)
		resized = 1;
	else if (number == SIGTSTP)
		stopping = 1;
	else
		ending = number;
}

/* All of it, or as much as a terminal that is gone takes. */
static void put(const char *text, size_t size)
{
	while (size > 0) {
		ssize_t n = write(STDOUT_FILENO, text, size);

		if (n < 0 && errno != EINTR)
			return;
		text += MAX(n, 0);
		size -= (size_t)MAX(n, 0);
	}
}

static void enter(void)
{
	struct termios quiet = screen.termios;

	quiet.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
	if (screen.has_termios)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &quiet);
	put(ENTER, strlen(ENTER));
}

static void leave(void)
{
	put(LEAVE, strlen(LEAVE));
	/* What was typed meanwhile was meant for the picture, not for the shell. */
	if (screen.has_termios)
		(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &screen.termios);
}

int screen_open(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	sigset_t blocked;

	assert(!screen.open);
	if (!isatty(STDOUT_FILENO))
		return -ENOTTY;
	fflush(stdout);
	sigemptyset(&blocked);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&blocked, signals[i]);
	sigprocmask(SIG_BLOCK, &blocked, &screen.before);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, &screen.actions[i]);
	screen.has_termios = tcgetattr(STDIN_FILENO, &screen.termios) == 0;
	screen.open = true;
	enter();
	return 0;
}

void screen_close(void)
{
	if (!screen.open)
		return;
	leave();
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &screen.actions[i], NULL);
	sigprocmask(SIG_SETMASK, &screen.before, NULL);
	screen.open = false;
}

const sigset_t *screen_mask(void)
{
	return screen.open ? &screen.before : NULL;
}

/* As a shell expects it: the terminal is its own while we are stopped. */
static void stop(void)
{
	leave();
	raise(SIGSTOP);
	enter();
}

enum screen_event screen_signals(void)
{
	sigset_t pending;

	/* Those that came while nobody waited: let in now. */
	if (screen.open && sigpending(&pending) == 0) {
		sigset_t blocked;

		sigprocmask(SIG_SETMASK, &screen.before, &blocked);
		sigprocmask(SIG_SETMASK, &blocked, NULL);
	}
	if (ending)
		return SCREEN_END;
	if (stopping) {
		stopping = 0;
		stop();
		return SCREEN_AGAIN;
	}
	if (resized) {
		resized = 0;
		return SCREEN_AGAIN;
	}
	return SCREEN_NOTHING;
}

void screen_die(void)
{
	if (ending)
		raise(ending);
}

/* The end of the escape sequence at @p. */
static const char *sequence_end(const char *p)
{
	for (p += 2; *p && (*p < '@' || *p > '~');)
		p++;
	return *p ? p + 1 : p;
}

/* Copies up to @columns of a line; colours take none. What is behind the line's end is the result. */
static const char *put_line(FILE *out, const char *p, int columns)
{
	mbstate_t shift = { 0 };
	int room = columns;

	while (*p && *p != '\n') {
		const char *end;
		wchar_t c;
		size_t n;
		int width;

		if (p[0] == '\033' && p[1] == '[') {
			end = sequence_end(p);
			fwrite(p, 1, (size_t)(end - p), out);
			p = end;
			continue;
		}
		n = mbrtowc(&c, p, MB_CUR_MAX, &shift);
		width = n == (size_t)-1 || n == (size_t)-2 || n == 0 ? 1 : MAX(wcwidth(c), 0);
		if (n == (size_t)-1 || n == (size_t)-2 || n == 0) {
			shift = (mbstate_t){ 0 };
			n = 1;
		}
		room -= width;
		if (room >= 0)
			fwrite(p, 1, n, out);
		p += n;
	}
	return *p ? p + 1 : p;
}

static size_t count_lines(const char *text)
{
	size_t n = 0;

	for (; *text; n++)
		text += strcspn(text, "\n") + (text[strcspn(text, "\n")] != '\0');
	return n;
}

/* One write, in which each line replaces the one before it: nothing is cleared that is then drawn, so
 * nothing flickers. */
void screen_draw(const char *text)
{
	struct winsize w = { 0 };
	size_t rows, lines = count_lines(text), size;
	char *picture = NULL;
	FILE *out;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) < 0 || w.ws_row == 0 || w.ws_col == 0)
		w = (struct winsize){ .ws_row = ROWS_DEFAULT, .ws_col = COLUMNS_DEFAULT };
	rows = lines <= w.ws_row ? lines : w.ws_row - 1u;
	out = open_memstream(&picture, &size);
	if (!out)
		return;
	fputs("\033[?2026h\033[H", out); /* terminals that know it show nothing until the end */
	for (size_t i = 0; i < rows; i++) {
		text = put_line(out, text, w.ws_col);
		fputs("\033[0m\033[K", out);
		if (i + 1 < rows || rows < lines)
			fputs("\r\n", out);
	}
	if (rows < lines)
		fprintf(out, "... %zu more\033[K", lines - rows);
	fputs("\033[J\033[?2026l", out);
	if (fclose(out) == 0)
		put(picture, size);
	free(picture);
}
