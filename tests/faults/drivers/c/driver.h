/* What the fault drivers in C share: arguments, pace, messages, the lines they write and the commands they get. The protocol is tests/faults/README.md.
 *
 * A driver fills in a driver_client and calls driver_run. The publishing thread is the one that called it; commands, and so close, are on a thread of their own. */
#ifndef DRIVER_H
#define DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum driver_mode { MODE_NORMAL, MODE_BLOCK, MODE_THROW, MODE_REPUBLISH, MODE_CLOSE, MODE_FORK, MODE_BAD };

struct driver_args {
    const char *url, *prefix;
    uint64_t count;
    double rate; /* messages a second; 0: no pace */
    bool pairs, poll;
    long long max_pending; /* -1: not given */
    long long ack_timeout_ms;
    enum driver_mode mode;
    char **subjects;
    size_t subject_count;
    size_t *sizes;
    size_t size_count;
    char **all; /* the arguments as they came, NULL at the end */
};

/* One message. The texts with a length may hold a NUL. */
struct driver_message {
    uint64_t k;
    const char *subject;
    size_t subject_len;
    const char *payload;
    size_t payload_len;
    const char *msg_id; /* NULL: none */
    const char *header, *header_value; /* NULL: none */
    bool from_handler;
};

enum driver_taken { TAKEN, REFUSED, CLOSED };

enum { DRIVER_TEXT = 512 };

/* The functions of one client. Those that return a text write it to why, which has DRIVER_TEXT bytes. */
struct driver_client {
    const char *name; /* with its version */
    bool c_strings; /* its API cannot say a NUL */
    enum driver_taken (*publish)(const struct driver_message *message, char *why);
    int64_t (*pending)(void); /* NULL: it does not say */
    void (*close)(int64_t limit_ms, char *why);
    void (*release)(void); /* after close, when no thread of the driver uses the client */
    bool (*close_in_handler)(char *why); /* true: as it should be */
    bool (*in_child)(char *why); /* publish and close in a forked child; true: as it should be */
};

struct driver_outcome {
    uint64_t k, seq;
    const char *kind; /* acked, refused, failed, in_doubt */
    const char *text;
    unsigned code;
    bool duplicate;
};

/* Reads the arguments; ends the process with a text if they are wrong. */
const struct driver_args *driver_start(int argc, char **argv);

/* Publishes, obeys and ends the process; does not return. The client is connected. */
void driver_run(const struct driver_client *client);

/* Ends the process with a line, because the client could not be set up. */
void driver_die(const char *what, const char *text);

/* Tells an outcome, and does what the mode asks of the handler. Any thread. */
void driver_outcome(const struct driver_outcome *outcome);

/* Tells a state, or an error that belongs to no message. Any thread. */
void driver_state(const char *state);
void driver_error(const char *what, const char *text);

/* No message is published after the one under way. */
void driver_stop_publishing(void);

#endif
