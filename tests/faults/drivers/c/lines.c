/* The lines that a driver writes: gathered under a lock, and written by whoever flushes, so that a publishing thread never waits for the pipe. */
#include "lines.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct buffer {
    char *data;
    size_t len, cap;
};

static pthread_mutex_t gathering = PTHREAD_MUTEX_INITIALIZER;
static struct buffer gathered;
static bool ended;

static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;
static struct buffer leaving;

int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void make_room(struct buffer *buffer, size_t more)
{
    if (buffer->cap - buffer->len >= more)
        return;
    size_t cap = (buffer->cap + more) * 2;
    char *data = realloc(buffer->data, cap);
    if (data == NULL)
        abort(); /* counted as a crash, rightly: the machine has no memory left */
    buffer->data = data;
    buffer->cap = cap;
}

static void add(const char *format, va_list values, bool last)
{
    enum { LONGEST = 4096 };
    pthread_mutex_lock(&gathering);
    if (!ended) {
        make_room(&gathered, LONGEST);
        int len = vsnprintf(gathered.data + gathered.len, LONGEST, format, values);
        if (len < 0 || len >= LONGEST)
            abort(); /* texts are cut long before */
        gathered.len += (size_t)len;
        gathered.data[gathered.len++] = '\n';
        ended = last;
    }
    pthread_mutex_unlock(&gathering);
}

void line(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    add(format, values, false);
    va_end(values);
}

void last_line(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    add(format, values, true);
    va_end(values);
    flush_lines();
}

void flush_lines(void)
{
    pthread_mutex_lock(&writing);
    pthread_mutex_lock(&gathering);
    struct buffer full = gathered;
    gathered = leaving;
    gathered.len = 0;
    leaving = full;
    pthread_mutex_unlock(&gathering);
    for (size_t done = 0; done < full.len;) {
        ssize_t len = write(STDOUT_FILENO, full.data + done, full.len - done);
        if (len < 0 && errno != EINTR)
            _exit(1); /* nobody reads any more */
        done += len > 0 ? (size_t)len : 0;
    }
    pthread_mutex_unlock(&writing);
}

const char *json(struct json_text *out, const char *text)
{
    size_t len = 0;
    for (const unsigned char *byte = (const unsigned char *)(text ? text : ""); *byte != 0 && len + 7 < sizeof out->data; byte++) {
        if (*byte == '"' || *byte == '\\')
            len += (size_t)sprintf(out->data + len, "\\%c", *byte);
        else if (*byte < 0x20 || *byte >= 0x7f)
            len += (size_t)sprintf(out->data + len, "\\u%04x", *byte); /* of UTF-8 the bytes: it is for reading, not for comparing */
        else
            out->data[len++] = (char)*byte;
    }
    out->data[len] = 0;
    return out->data;
}
