/* nats: nats.c as Debian has it (libnats-dev), for the benchmark. The arguments and the line are those of publish.c; its one mode is callback.
 *
 * js_PublishAsync with an AckHandler, which is called for every message, and MaxPending for the window: what its documentation has for throughput. */
#define _GNU_SOURCE

#include "bench.h"

#include <nats/nats.h>

static const char *const MODES[] = {"callback", NULL};

/* Written on the library's one thread for acks, and read when all are in. Acks come in the order of the messages: one stream, one connection. */
static struct {
    uint64_t acked, failed;
    uint64_t *latencies;
    struct bench_pacer pacer;
} outcome;

static void on_ack(jsCtx *js, natsMsg *msg, jsPubAck *ack, jsPubAckErr *failure, void *closure)
{
    (void)js, (void)closure;
    if (ack != NULL && outcome.latencies != NULL)
        outcome.latencies[outcome.acked] = bench_latency_ns(&outcome.pacer, outcome.acked);
    if (ack != NULL)
        outcome.acked++;
    else if (outcome.failed++ == 0)
        fprintf(stderr, "nats: the first failure: %s: %s\n", natsStatus_GetText(failure->Err), failure->ErrText != NULL ? failure->ErrText : "");
    natsMsg_Destroy(msg);
}

static void check(natsStatus status, const char *call)
{
    if (status != NATS_OK) {
        fprintf(stderr, "nats: %s: %s\n", call, natsStatus_GetText(status));
        exit(1);
    }
}

static jsCtx *connect_to(const struct bench_load *load, natsConnection **connection)
{
    char url[256];
    snprintf(url, sizeof url, "nats://%s", load->address);
    check(natsConnection_ConnectTo(connection, url), "natsConnection_ConnectTo");
    jsOptions options;
    check(jsOptions_Init(&options), "jsOptions_Init");
    options.PublishAsync.MaxPending = (int64_t)load->window;
    options.PublishAsync.AckHandler = on_ack;
    options.PublishAsync.StallWait = BENCH_FLUSH_MS;
    jsCtx *context = NULL;
    check(natsConnection_JetStream(&context, *connection, &options), "natsConnection_JetStream");
    return context;
}

/* Two runs within two minutes must not have the same Msg-Ids: the server would take the second one's for duplicates. */
static void publish(jsCtx *context, const struct bench_load *load, const char *payload)
{
    char msg_id[64];
    unsigned long long unique = bench_now_ns();
    jsPubOptions options;
    check(jsPubOptions_Init(&options), "jsPubOptions_Init");
    if (load->rate > 0)
        outcome.pacer = bench_pacer_start(load->rate);
    for (uint64_t i = 0; i < load->count; i++) {
        if (load->rate > 0)
            bench_pace(&outcome.pacer, i);
        if (load->msg_id) {
            snprintf(msg_id, sizeof msg_id, "%016llx-%010llu", unique, (unsigned long long)i);
            options.MsgId = msg_id;
        }
        check(js_PublishAsync(context, load->subject, payload, (int)load->size, &options), "js_PublishAsync");
    }
}

int main(int argc, char **argv)
{
    struct bench_load load = bench_parse(argc, argv, MODES);
    if (load.connections > 0)
        bench_refuse("--connections", "given", "for publish.c alone");
    if (load.threads > 1)
        bench_refuse("T", "more than 1", "1");
    natsConnection *connection = NULL;
    jsCtx *context = connect_to(&load, &connection);
    outcome.latencies = bench_latencies_new(&load);
    char *payload = malloc(load.size + 1);
    if (payload == NULL)
        return 1;
    memset(payload, 'x', load.size);

    struct bench_watch watch = bench_start();
    publish(context, &load, payload);
    if (!load.hold) {
        jsPubOptions options;
        check(jsPubOptions_Init(&options), "jsPubOptions_Init");
        options.MaxWait = BENCH_FLUSH_MS;
        check(js_PublishAsyncComplete(context, &options), "js_PublishAsyncComplete");
    }
    bench_stop(&watch, &load, outcome.acked, outcome.failed);
    if (load.hold)
        _exit(0); /* nobody acks */

    jsCtx_Destroy(context);
    natsConnection_Destroy(connection);
    free(payload);
    bench_latencies_write(&load, outcome.latencies);
    return outcome.acked == load.count ? 0 : 1;
}
