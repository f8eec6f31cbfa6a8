/* What the C and C++ clients of the benchmark share: the arguments, the pace, the latencies, and the line of figures. See README.md. */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define BENCH_OPTIONS "[--mode MODE] [--threads T] [--rate R] [--latencies FILE] [--no-msg-id] [--hold] [--connections C]"

enum { BENCH_MAX_THREADS = 64, BENCH_FLUSH_MS = 120000 };

/* At a rate, nobody wakes more often than this. */
static const uint64_t BENCH_TICK_NS = 50000;

struct bench_load {
    const char *address, *subject;
    uint64_t count, window, rate;
    size_t size;
    unsigned threads, connections;
    const char *mode, *latencies;
    bool msg_id, hold;
};

struct bench_watch {
    double wall;
    struct rusage usage;
    uint64_t rss_kb;
};

/* One thread's; messages are due at start_ns + i / rate. */
struct bench_pacer {
    uint64_t start_ns, now_ns, wake_ns, rate;
};

static inline void bench_refuse(const char *name, const char *value, const char *allowed)
{
    fprintf(stderr, "publish: %s is \"%s\"; allowed: %s\n", name, value, allowed);
    exit(2);
}

static inline uint64_t bench_number(const char *name, const char *text, uint64_t least)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || value < least)
        bench_refuse(name, text, least > 0 ? "a decimal number of at least 1" : "a decimal number");
    return value;
}

/* `modes`: those that the program has, the first is what it does without --mode; the array ends with NULL. */
static inline struct bench_load bench_parse(int argc, char **argv, const char *const *modes)
{
    if (argc < 6) {
        fprintf(stderr, "usage: publish HOST:PORT SUBJECT N SIZE WINDOW %s\n", BENCH_OPTIONS);
        exit(2);
    }
    struct bench_load load;
    memset(&load, 0, sizeof load);
    load.address = argv[1];
    load.subject = argv[2];
    load.count = bench_number("N", argv[3], 1);
    load.size = (size_t)bench_number("SIZE", argv[4], 0);
    load.window = bench_number("WINDOW", argv[5], 1);
    load.threads = 1;
    load.mode = modes[0];
    load.msg_id = true;
    for (int i = 6; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--no-msg-id") == 0) {
            load.msg_id = false;
            continue;
        }
        if (strcmp(argv[i], "--hold") == 0) {
            load.hold = true;
            continue;
        }
        if (strcmp(argv[i], "--threads") == 0)
            load.threads = (unsigned)bench_number("T", value, 1);
        else if (strcmp(argv[i], "--rate") == 0)
            load.rate = bench_number("R", value, 1);
        else if (strcmp(argv[i], "--latencies") == 0)
            load.latencies = value;
        else if (strcmp(argv[i], "--connections") == 0)
            load.connections = (unsigned)bench_number("C", value, 1);
        else if (strcmp(argv[i], "--mode") == 0)
            load.mode = value;
        else
            bench_refuse("an option", argv[i], BENCH_OPTIONS);
        i++;
    }
    size_t mode = 0;
    while (modes[mode] != NULL && strcmp(modes[mode], load.mode) != 0)
        mode++;
    if (modes[mode] == NULL)
        bench_refuse("MODE", load.mode, "what the program's source says");
    if (load.threads > BENCH_MAX_THREADS)
        bench_refuse("T", "more than 64", "1 to 64");
    if (load.rate > 0 && load.threads > 1)
        bench_refuse("T", "more than 1", "1 with --rate: one thread keeps the pace");
    if ((load.latencies != NULL) != (load.rate > 0))
        bench_refuse("--latencies", load.latencies != NULL ? load.latencies : "", "with --rate, and only then");
    return load;
}

static inline uint64_t bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- figures ---- */

/* A line of /proc/self/status, in KiB. Not ru_maxrss: a process inherits that from the one that started it. */
static inline uint64_t bench_status_kb(const char *name)
{
    char line[256];
    unsigned long long value = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            value = strtoull(line + strlen(name), NULL, 10);
    if (file != NULL)
        fclose(file);
    return value;
}

static inline double bench_cpu_seconds(const struct rusage *usage)
{
    return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) + (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e6;
}

/* Right before the first publish. */
static inline struct bench_watch bench_start(void)
{
    struct bench_watch watch;
    watch.rss_kb = bench_status_kb("VmRSS:");
    getrusage(RUSAGE_SELF, &watch.usage);
    watch.wall = (double)bench_now_ns() / 1e9;
    return watch;
}

/* When the last ack is in: prints the line. The process counts whole, the threads of the client's library included. */
static inline void bench_stop(const struct bench_watch *watch, const struct bench_load *load, uint64_t acked, uint64_t failed)
{
    double wall = (double)bench_now_ns() / 1e9 - watch->wall;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = bench_cpu_seconds(&usage) - bench_cpu_seconds(&watch->usage);
    printf("n=%llu acked=%llu failed=%llu msgs_per_s=%.1f cpu_us_per_msg=%.4f rss_start_kb=%llu rss_kb=%llu voluntary=%ld involuntary=%ld\n",
           (unsigned long long)load->count, (unsigned long long)acked, (unsigned long long)failed, (double)acked / wall, cpu * 1e6 / (double)load->count,
           (unsigned long long)watch->rss_kb, (unsigned long long)bench_status_kb("VmHWM:"), usage.ru_nvcsw - watch->usage.ru_nvcsw,
           usage.ru_nivcsw - watch->usage.ru_nivcsw);
    fflush(stdout);
}

/* ---- pace and latencies ---- */

static inline uint64_t bench_due_ns(uint64_t rate, uint64_t i)
{
    return i / rate * 1000000000u + i % rate * 1000000000u / rate;
}

/* On the thread that publishes, right before the first message. */
static inline struct bench_pacer bench_pacer_start(uint64_t rate)
{
    prctl(PR_SET_TIMERSLACK, 1000ul, 0ul, 0ul, 0ul);
    struct bench_pacer pacer;
    pacer.start_ns = pacer.now_ns = pacer.wake_ns = bench_now_ns();
    pacer.rate = rate;
    return pacer;
}

/* Sleeps until message i is due, and no shorter than a tick; returns at once when it is late. */
static inline void bench_pace(struct bench_pacer *pacer, uint64_t i)
{
    uint64_t due = pacer->start_ns + bench_due_ns(pacer->rate, i);
    if (due <= pacer->now_ns || due <= (pacer->now_ns = bench_now_ns()))
        return;
    if (due < pacer->wake_ns + BENCH_TICK_NS)
        due = pacer->wake_ns + BENCH_TICK_NS;
    struct timespec until = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0)
        continue;
    pacer->wake_ns = due;
    pacer->now_ns = bench_now_ns();
}

/* A place for each message's latency; its pages are there before the first message. NULL without --rate. */
static inline uint64_t *bench_latencies_new(const struct bench_load *load)
{
    if (load->rate == 0)
        return NULL;
    uint64_t *latencies = (uint64_t *)malloc(load->count * sizeof *latencies);
    if (latencies == NULL) {
        fprintf(stderr, "publish: no memory for %llu latencies\n", (unsigned long long)load->count);
        exit(1);
    }
    memset(latencies, 0xff, load->count * sizeof *latencies);
    return latencies;
}

/* From when message i was due until now. */
static inline uint64_t bench_latency_ns(const struct bench_pacer *pacer, uint64_t i)
{
    return bench_now_ns() - pacer->start_ns - bench_due_ns(pacer->rate, i);
}

/* Nanoseconds, 8 bytes each, in the machine's order. */
static inline void bench_latencies_write(const struct bench_load *load, uint64_t *latencies)
{
    if (latencies == NULL)
        return;
    FILE *file = fopen(load->latencies, "wb");
    bool written = file != NULL && fwrite(latencies, sizeof *latencies, load->count, file) == load->count;
    if (file == NULL || fclose(file) != 0 || !written) {
        fprintf(stderr, "publish: cannot write %s\n", load->latencies);
        exit(1);
    }
    free(latencies);
}

#endif
