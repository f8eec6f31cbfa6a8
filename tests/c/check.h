/* What the C tests share: a check that says where it failed, and publishers on the in-memory backend. */
#ifndef CHECK_H
#define CHECK_H

#include <ackbus.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                                                             \
    do {                                                                                                                                             \
        if (!(condition)) {                                                                                                                          \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                                                                \
            abort();                                                                                                                                 \
        }                                                                                                                                            \
    } while (0)

/* The call must return this status. */
#define IS(expected, call) check_status(__FILE__, __LINE__, #call, expected, call)

/* The same for a call whose err_out is &error: the error must be there if and only if the call failed, with the same status and a text. Frees it. */
#define ERR(expected, call)                                                                                                                          \
    do {                                                                                                                                             \
        ackbus_error *error = CHECK_GARBAGE; /* overwritten, never read */                                                                           \
        check_status(__FILE__, __LINE__, #call, expected, call);                                                                                     \
        check_error(__FILE__, __LINE__, #call, expected, error);                                                                                     \
    } while (0)

#define CHECK_GARBAGE ((ackbus_error *)(uintptr_t)0x10)

static inline void check_status(const char *file, int line, const char *call, ackbus_status expected, ackbus_status got)
{
    if (got != expected) {
        fprintf(stderr, "%s:%d: %s: is %s, should be %s\n", file, line, call, ackbus_status_name(got), ackbus_status_name(expected));
        abort();
    }
}

static inline void check_error(const char *file, int line, const char *call, ackbus_status expected, ackbus_error *error)
{
    if (expected == ACKBUS_OK ? error != NULL : error == NULL || error == CHECK_GARBAGE) {
        fprintf(stderr, "%s:%d: %s: err_out is %p\n", file, line, call, (void *)error);
        abort();
    }
    ackbus_str text = ackbus_error_message(error);
    if (ackbus_error_status(error) != expected || (error != NULL && (text.len == 0 || strlen(text.data) != text.len))) {
        fprintf(stderr, "%s:%d: %s: the error says %s: %s\n", file, line, call, ackbus_status_name(ackbus_error_status(error)), text.data);
        abort();
    }
    ackbus_error_free(error);
}

/* A config for the in-memory backend and these options: key, value, ..., NULL. */
static inline ackbus_config *memory_config(const char *const *options)
{
    ackbus_config *config = ackbus_config_new();
    ERR(ACKBUS_OK, ackbus_config_set(config, "servers", "memory:", &error));
    for (; options != NULL && options[0] != NULL; options += 2)
        ERR(ACKBUS_OK, ackbus_config_set(config, options[0], options[1], &error));
    return config;
}

#define OPTIONS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Connects, and frees the config. */
static inline ackbus_publisher *connect_and_free(ackbus_config *config)
{
    ackbus_publisher *bus = NULL;
    ERR(ACKBUS_OK, ackbus_publisher_connect(config, &bus, &error));
    CHECK(bus != NULL);
    ackbus_config_free(config);
    return bus;
}

/* The one report of a batch. */
static inline const ackbus_report *only(const ackbus_reports *batch)
{
    size_t count = 0, stride = 0;
    const ackbus_report *report = ackbus_reports_data(batch, &count, &stride);
    CHECK(count == 1 && stride >= sizeof(ackbus_report));
    return ackbus_report_at(report, stride, 0);
}

static inline bool is_text(ackbus_str str, const char *text)
{
    return str.len == strlen(text) && memcmp(str.data, text, str.len + 1) == 0; /* with its NUL byte */
}

static inline ackbus_status publish_text(ackbus_publisher *bus, const char *topic, const char *text)
{
    return ackbus_publisher_publish(bus, topic, strlen(topic), text, strlen(text), 0, NULL, NULL);
}

static inline ackbus_message message_of(const char *topic, const char *text)
{
    ackbus_message message = ACKBUS_MESSAGE_INIT;
    message.topic = ackbus_str_of(topic);
    message.payload = text;
    message.payload_len = strlen(text);
    return message;
}

#endif
