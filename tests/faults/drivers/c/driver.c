/* The frame of the fault drivers in C: arguments, the publishing loop, commands, and what the modes do. */
#define _POSIX_C_SOURCE 200809L

#include "driver.h"

#include "lines.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FLUSH_EVERY_MS = 25, BLOCK_MS = 10000, AT_OUTCOME = 1000, REPUBLISHED = 100, LATE_CALLBACKS_MS = 300, CHILD_S = 5, BAD_WAIT_S = 2 };

/* Numbers of the messages that must be refused: no message of the load has them. */
#define BAD_NUMBERS (UINT64_C(1) << 63)

static struct driver_args args = {.prefix = "m", .count = 1000, .max_pending = -1, .ack_timeout_ms = 10000};
static const struct driver_client *client;
static atomic_bool stopped;
static atomic_uint_fast64_t outcomes;

/* The publishing thread has left its loop; the client is released. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool idle, released;
static uint64_t bad_settled;
static char bad_outcome[DRIVER_TEXT];

static void sleep_ms(long ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&pause, &pause) != 0)
        ;
}

/* Waits for `changed` with the lock held; false when the time is over. */
static bool wait_until(const struct timespec *end)
{
    return pthread_cond_timedwait(&changed, &lock, end) == 0;
}

static struct timespec in_seconds(time_t seconds)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += seconds;
    return end;
}

static void start_thread(void *(*run)(void *))
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, NULL) != 0)
        driver_die("thread", "cannot start one");
    pthread_detach(thread);
}

/* ---- arguments ---- */

/* Splits at the commas, in place; NULL at the end. */
static char **split(char *text, size_t *count)
{
    size_t parts = 1;
    for (const char *at = text; (at = strchr(at, ',')) != NULL; at++)
        parts++;
    char **list = calloc(parts + 1, sizeof *list);
    if (list == NULL)
        driver_die("memory", "none left");
    *count = 0;
    for (char *rest = text, *part; (part = strtok_r(rest, ",", &rest)) != NULL;)
        list[(*count)++] = part;
    return list;
}

static enum driver_mode mode_of(const char *name)
{
    static const char *const names[] = {"normal", "block", "throw", "republish", "close", "fork", "bad"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return (enum driver_mode)i;
    driver_die("mode", name);
    return MODE_NORMAL;
}

static char *copy(const char *text)
{
    char *copied = strdup(text);
    if (copied == NULL)
        driver_die("memory", "none left");
    return copied;
}

static void read_argument(const char *key, const char *value)
{
    if (strcmp(key, "url") == 0) {
        args.url = copy(value);
    } else if (strcmp(key, "prefix") == 0) {
        args.prefix = copy(value);
    } else if (strcmp(key, "subjects") == 0) {
        args.subjects = split(copy(value), &args.subject_count);
    } else if (strcmp(key, "sizes") == 0) {
        char **texts = split(copy(value), &args.size_count);
        args.sizes = calloc(args.size_count + 1, sizeof *args.sizes);
        for (size_t i = 0; args.sizes != NULL && i < args.size_count; i++)
            args.sizes[i] = (size_t)strtoull(texts[i], NULL, 10);
        free(texts);
    } else if (strcmp(key, "count") == 0) {
        args.count = strtoull(value, NULL, 10);
    } else if (strcmp(key, "rate") == 0) {
        args.rate = strtod(value, NULL);
    } else if (strcmp(key, "pairs") == 0) {
        args.pairs = strcmp(value, "1") == 0;
    } else if (strcmp(key, "max_pending") == 0) {
        args.max_pending = strtoll(value, NULL, 10);
    } else if (strcmp(key, "ack_timeout_ms") == 0) {
        args.ack_timeout_ms = strtoll(value, NULL, 10);
    } else if (strcmp(key, "delivery") == 0) {
        args.poll = strcmp(value, "poll") == 0;
    } else if (strcmp(key, "mode") == 0) {
        args.mode = mode_of(value);
    }
}

const struct driver_args *driver_start(int argc, char **argv)
{
    (void)argc;
    args.all = argv + 1;
    for (char **arg = args.all; *arg != NULL; arg++) {
        const char *value = strchr(*arg, '=');
        char key[32];
        if (value != NULL && (size_t)(value - *arg) < sizeof key) {
            memcpy(key, *arg, (size_t)(value - *arg));
            key[value - *arg] = 0;
            read_argument(key, value + 1);
        }
    }
    if (args.url == NULL || args.subject_count == 0)
        driver_die("arguments", "url= and subjects= are needed");
    if (args.size_count == 0)
        read_argument("sizes", "256");
    return &args;
}

void driver_die(const char *what, const char *text)
{
    fprintf(stderr, "%s: %s\n", what, text);
    driver_error(what, text);
    flush_lines();
    exit(1);
}

/* ---- what the client tells ---- */

void driver_state(const char *state)
{
    line("{\"e\":\"state\",\"state\":\"%s\",\"t\":%" PRId64 "}", state, now_us());
}

void driver_error(const char *what, const char *text)
{
    struct json_text a, b;
    line("{\"e\":\"error\",\"text\":\"%s: %s\",\"t\":%" PRId64 "}", json(&a, what), json(&b, text), now_us());
}

static void check(const char *what, bool ok, const char *text)
{
    struct json_text a, b;
    line("{\"e\":\"check\",\"what\":\"%s\",\"ok\":%s,\"text\":\"%s\",\"t\":%" PRId64 "}", json(&a, what), ok ? "true" : "false", json(&b, text), now_us());
}

static enum driver_taken offer(uint64_t k, bool from_handler);

static void do_what_the_mode_asks(uint64_t nth)
{
    if (args.mode == MODE_BLOCK && nth == AT_OUTCOME) {
        sleep_ms(BLOCK_MS);
    } else if (args.mode == MODE_REPUBLISH && nth <= REPUBLISHED) {
        offer(args.count + nth, true);
    } else if (args.mode == MODE_CLOSE && nth == AT_OUTCOME) {
        char why[DRIVER_TEXT] = "";
        bool ok = client->close_in_handler(why);
        check("close in the handler", ok, why);
    }
}

void driver_outcome(const struct driver_outcome *outcome)
{
    struct json_text text;
    if (outcome->k >= BAD_NUMBERS) {
        pthread_mutex_lock(&lock);
        bad_settled = outcome->k;
        snprintf(bad_outcome, sizeof bad_outcome, "%s %s", outcome->kind, outcome->text);
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
        return;
    }
    if (strcmp(outcome->kind, "acked") == 0) {
        line("{\"e\":\"outcome\",\"id\":%" PRIu64 ",\"t\":%" PRId64 ",\"kind\":\"acked\",\"seq\":%" PRIu64 ",\"dup\":%s}", outcome->k, now_us(), outcome->seq,
             outcome->duplicate ? "true" : "false");
    } else {
        char code[24] = "";
        if (outcome->code != 0)
            snprintf(code, sizeof code, ",\"code\":%u", outcome->code);
        line("{\"e\":\"outcome\",\"id\":%" PRIu64 ",\"t\":%" PRId64 ",\"kind\":\"%s\",\"text\":\"%s\"%s}", outcome->k, now_us(), outcome->kind,
             json(&text, outcome->text), code);
    }
    do_what_the_mode_asks(atomic_fetch_add(&outcomes, 1) + 1);
}

/* ---- publishing ---- */

/* The payload of message k: its number and a space, then letters that depend on k and the place; cut at the size. */
static void write_payload(char *payload, size_t size, uint64_t k)
{
    char number[32];
    size_t len = (size_t)snprintf(number, sizeof number, "%" PRIu64 " ", k);
    for (size_t i = 0; i < size; i++)
        payload[i] = i < len ? number[i] : (char)('a' + (k + i) % 26);
}

static enum driver_taken offer(uint64_t k, bool from_handler)
{
    const char *subject = args.subjects[(k - 1) % args.subject_count];
    size_t size = args.sizes[(k - 1) % args.size_count];
    char *payload = malloc(size + 1);
    if (payload == NULL)
        driver_die("memory", "none left");
    write_payload(payload, size, k);
    char msg_id[256], why[DRIVER_TEXT] = "";
    snprintf(msg_id, sizeof msg_id, "%s-%" PRIu64, args.prefix, args.pairs ? (k - 1) / 2 * 2 + 1 : k);
    enum driver_taken taken = client->publish(&(struct driver_message){.k = k,
                                                                       .subject = subject,
                                                                       .subject_len = strlen(subject),
                                                                       .payload = payload,
                                                                       .payload_len = size,
                                                                       .msg_id = msg_id,
                                                                       .from_handler = from_handler},
                                              why);
    int64_t t = now_us();
    free(payload);
    if (taken == TAKEN) {
        line("{\"e\":\"accept\",\"id\":%" PRIu64 ",\"t\":%" PRId64 "}", k, t);
    } else {
        struct json_text text;
        line("{\"e\":\"reject\",\"id\":%" PRIu64 ",\"t\":%" PRId64 ",\"text\":\"%s\"}", k, t, json(&text, why));
    }
    return taken;
}

/* Waits until message k is due. One that is late goes at once: the load does not slow down because something broke. */
static void keep_pace(const struct timespec *start, uint64_t k)
{
    if (args.rate <= 0)
        return;
    double due = (double)(k - 1) / args.rate;
    for (;;) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        double left = due - (double)(now.tv_sec - start->tv_sec) - (double)(now.tv_nsec - start->tv_nsec) / 1e9;
        if (left <= 0 || stopped)
            return;
        double slice = left < 0.05 ? left : 0.05; /* to hear of a stop */
        struct timespec pause = {.tv_nsec = (long)(slice * 1e9)};
        nanosleep(&pause, NULL);
    }
}

/* ---- modes ---- */

static void try_bad(uint64_t number, const char *name, struct driver_message *message)
{
    char why[DRIVER_TEXT] = "", what[64];
    snprintf(what, sizeof what, "bad: %s", name);
    message->k = BAD_NUMBERS + number;
    message->payload = "x";
    message->payload_len = 1;
    enum driver_taken taken = client->publish(message, why);
    if (taken != TAKEN) {
        check(what, taken == REFUSED, why); /* a client that is closed has refused nothing */
        return;
    }
    struct timespec end = in_seconds(BAD_WAIT_S);
    pthread_mutex_lock(&lock);
    while (bad_settled != message->k && wait_until(&end))
        ;
    snprintf(why, sizeof why, "publish took it; outcome: %.400s", bad_settled == message->k ? bad_outcome : "none in 2 s");
    pthread_mutex_unlock(&lock);
    check(what, false, why);
}

static void try_what_must_be_refused(void)
{
#define TEXT(text) .subject = (text), .subject_len = sizeof(text) - 1
    static char long_subject[5001];
    memset(long_subject, 'a', sizeof long_subject - 1);
    const char *good = args.subjects[0];
    struct {
        const char *name;
        struct driver_message message;
    } all[] = {
        {"empty subject", {TEXT("")}},
        {"space", {TEXT("a b")}},
        {"line end", {TEXT("a\r\nPUB x 0\r\n\r\n")}},
        {"star", {TEXT("a.*")}},
        {"gt", {TEXT("a.>")}},
        {"empty token", {TEXT("a..b")}},
        {"leading dot", {TEXT(".a")}},
        {"trailing dot", {TEXT("a.")}},
        {"nul", {TEXT("a\0b")}},
        {"long subject", {.subject = long_subject, .subject_len = sizeof long_subject - 1}},
        {"header line end", {.subject = good, .subject_len = strlen(good), .header = "A", .header_value = "x\r\nB: y"}},
        {"header name", {.subject = good, .subject_len = strlen(good), .header = "A B", .header_value = "x"}},
        {"msg id line end", {.subject = good, .subject_len = strlen(good), .msg_id = "x\r\nNats-Rollup: all"}},
    };
#undef TEXT
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (!client->c_strings || memchr(all[i].message.subject, 0, all[i].message.subject_len) == NULL)
            try_bad(i, all[i].name, &all[i].message);
}

/* What the child finds goes through a pipe: its standard output is the parent's. */
static void fork_a_child(void)
{
    int ends[2];
    if (pipe(ends) != 0)
        driver_die("fork", "no pipe");
    pid_t child = fork();
    if (child == 0) {
        alarm(CHILD_S);
        char why[DRIVER_TEXT] = "";
        bool ok = client->in_child(why);
        _exit(write(ends[1], why, strlen(why)) < 0 || !ok);
    }
    close(ends[1]);
    char why[DRIVER_TEXT] = "the child hung: it published or closed for 5 s";
    int status = -1;
    ssize_t len = read(ends[0], why, sizeof why - 1);
    if (len > 0)
        why[len] = 0;
    close(ends[0]);
    bool ended = child > 0 && waitpid(child, &status, 0) == child;
    check("fork", ended && WIFEXITED(status) && WEXITSTATUS(status) == 0, why);
}

/* ---- the frame ---- */

static void *flush_and_sample(void *unused)
{
    (void)unused;
    for (bool sample = false;; sample = !sample) {
        sleep_ms(FLUSH_EVERY_MS);
        pthread_mutex_lock(&lock);
        if (sample && client->pending != NULL && !released)
            line("{\"e\":\"pending\",\"n\":%" PRId64 ",\"t\":%" PRId64 "}", client->pending(), now_us());
        pthread_mutex_unlock(&lock);
        flush_lines();
    }
    return NULL;
}

/* Not getrusage: what that says includes the process that started this one, as it was at the fork. */
static long largest_resident_kb(void)
{
    long kb = 0;
    char status[256];
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(status, sizeof status, file) != NULL && sscanf(status, "VmHWM: %ld", &kb) != 1)
        ;
    if (file != NULL)
        fclose(file);
    return kb;
}

static void close_and_end(int64_t limit_ms)
{
    char why[DRIVER_TEXT] = "OK";
    struct json_text text;
    line("{\"e\":\"close_begin\",\"t\":%" PRId64 "}", now_us());
    client->close(limit_ms, why);
    line("{\"e\":\"close_end\",\"t\":%" PRId64 ",\"text\":\"%s\"}", now_us(), json(&text, why));
    sleep_ms(LATE_CALLBACKS_MS);
    stopped = true;
    struct timespec end = in_seconds(5);
    pthread_mutex_lock(&lock);
    while (!idle && wait_until(&end))
        ;
    released = idle;
    pthread_mutex_unlock(&lock);
    if (released)
        client->release();
    else
        driver_error("driver", "a publish has not returned 5 s after close");
    last_line("{\"e\":\"end\",\"rss_kb\":%ld,\"t\":%" PRId64 "}", largest_resident_kb(), now_us());
    exit(0);
}

static void *obey(void *unused)
{
    (void)unused;
    for (char command[256]; fgets(command, sizeof command, stdin) != NULL;) {
        char what[16];
        long long value;
        if (sscanf(command, "{\"do\":\"%15[a-z]\",\"value\":%lld}", what, &value) != 2)
            driver_die("not a command", command);
        if (strcmp(what, "close") == 0)
            close_and_end(value);
        else if (strcmp(what, "stop") == 0)
            driver_stop_publishing();
        else
            driver_die("not a command", command);
    }
    _exit(0); /* nobody is there any more */
}

void driver_stop_publishing(void)
{
    stopped = true;
}

void driver_run(const struct driver_client *run)
{
    client = run;
    struct json_text name;
    line("{\"e\":\"ready\",\"t\":%" PRId64 ",\"client\":\"%s\"}", now_us(), json(&name, client->name));
    start_thread(flush_and_sample);
    start_thread(obey);
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (uint64_t k = 1; k <= args.count; k++) {
        keep_pace(&start, k);
        if (stopped || offer(k, false) == CLOSED)
            break;
        if (k == args.count / 2 && args.mode == MODE_BAD)
            try_what_must_be_refused();
        if (k == args.count / 2 && args.mode == MODE_FORK)
            fork_a_child();
    }
    line("{\"e\":\"published\",\"t\":%" PRId64 "}", now_us());
    pthread_mutex_lock(&lock);
    idle = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    for (;;)
        pause(); /* obey ends the process */
}
