/* The lines that a driver writes on standard output: one JSON object each. */
#ifndef LINES_H
#define LINES_H

#include <stdint.h>

/* Microseconds since 1970. */
int64_t now_us(void);

/* Adds a line, without its newline. Any thread; never waits for the reader. */
void line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same for the last line: writes everything, and what is added later is dropped. */
void last_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Writes what was added. Any thread. */
void flush_lines(void);

/* A text as the inside of a JSON string, cut if it is long. */
struct json_text {
    char data[1024];
};
const char *json(struct json_text *out, const char *text);

#endif
