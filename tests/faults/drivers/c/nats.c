#define _GNU_SOURCE /* strsep */

/* The fault driver of nats.c, as its users get it from Debian (libnats-dev), with the options that its documentation (nats.h, and the API pages at
 * nats-io.github.io/nats.c) recommends to who wants to know the outcome of every message:
 *
 * - PublishAsync.AckHandler, "invoked for each asynchronous published message", successes too; MaxPending, since there is no limit without it; MaxWait on each
 *   publish, since without it a lost ack is never told; StallWait long enough for a full window to empty by time-outs, so that a stall is no lost message.
 * - MaxReconnect -1 (for ever), a short ReconnectWait with jitter, PingInterval 5 s with two unanswered ones allowed: a dead peer is noticed as soon as ackbus
 *   notices it. RetryOnFailedConnect.
 * - Closing as its example js-pub.c does: js_PublishAsyncComplete with a limit, then js_PublishAsyncGetPendingList for what is left, then the connection.
 *
 * The handler gets the message back and no number of the user's, and with pairs=1 the Msg-Id is not unique: so each message carries its number in a header. */
#include "driver.h"

#include <inttypes.h>
#include <nats/nats.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NO_RESPONDERS_CODE = 503 };

static const char NUMBER[] = "Driver-Number";

static const struct driver_args *args;
static natsConnection *connection;
static jsCtx *context;
static atomic_bool closing;

static natsStatus explain(natsStatus status, const char *call, char *why)
{
    snprintf(why, DRIVER_TEXT, "%s: %s", call, natsStatus_GetText(status));
    return status;
}

/* ---- outcomes ---- */

static uint64_t number_of(natsMsg *msg)
{
    const char *number = NULL;
    return natsMsgHeader_Get(msg, NUMBER, &number) == NATS_OK ? strtoull(number, NULL, 10) : 0;
}

static void on_ack(jsCtx *js, natsMsg *msg, jsPubAck *ack, jsPubAckErr *failure, void *closure)
{
    (void)js, (void)closure;
    struct driver_outcome outcome = {.k = number_of(msg), .kind = "acked", .text = ""};
    char text[DRIVER_TEXT];
    if (ack != NULL) {
        outcome.seq = ack->Sequence;
        outcome.duplicate = ack->Duplicate;
    } else {
        snprintf(text, sizeof text, "%s: %s", natsStatus_GetText(failure->Err), failure->ErrText != NULL ? failure->ErrText : "");
        outcome.text = text;
        outcome.code = failure->Err == NATS_NO_RESPONDERS ? NO_RESPONDERS_CODE : (unsigned)failure->ErrCode;
        outcome.kind = failure->Err == NATS_TIMEOUT ? "in_doubt" : outcome.code != 0 ? "refused" : "failed";
    }
    driver_outcome(&outcome);
    natsMsg_Destroy(msg);
}

static void on_disconnected(natsConnection *nc, void *closure)
{
    (void)nc, (void)closure;
    if (!closing)
        driver_state("disconnected");
}

static void on_reconnected(natsConnection *nc, void *closure)
{
    (void)nc, (void)closure;
    driver_state("reconnected");
}

static void on_closed(natsConnection *nc, void *closure)
{
    (void)nc, (void)closure;
    if (!closing)
        driver_state("failed");
}

static void on_error(natsConnection *nc, natsSubscription *subscription, natsStatus status, void *closure)
{
    (void)subscription, (void)closure;
    const char *text = "";
    natsConnection_GetLastError(nc, &text);
    driver_error(natsStatus_GetText(status), text);
}

/* ---- what the frame calls ---- */

static enum driver_taken publish(const struct driver_message *given, char *why)
{
    char number[24];
    snprintf(number, sizeof number, "%" PRIu64, given->k);
    natsMsg *msg = NULL;
    jsPubOptions options;
    jsPubOptions_Init(&options);
    options.MaxWait = args->ack_timeout_ms;
    options.MsgId = given->msg_id;
    natsStatus status = explain(natsMsg_Create(&msg, given->subject, NULL, given->payload, (int)given->payload_len), "natsMsg_Create", why);
    if (status == NATS_OK)
        status = explain(natsMsgHeader_Set(msg, NUMBER, number), "natsMsgHeader_Set", why);
    if (status == NATS_OK && given->header != NULL)
        status = explain(natsMsgHeader_Set(msg, given->header, given->header_value), "natsMsgHeader_Set", why);
    if (status == NATS_OK)
        status = explain(js_PublishMsgAsync(context, &msg, &options), "js_PublishMsgAsync", why);
    natsMsg_Destroy(msg); /* NULL if the library has it now */
    return status == NATS_OK ? TAKEN : status == NATS_CONNECTION_CLOSED ? CLOSED : REFUSED;
}

/* Those that the documented way of closing finds without an ack: its user knows that they may be stored. */
static void tell_what_is_left(void)
{
    natsMsgList list = {0};
    if (js_PublishAsyncGetPendingList(&list, context) != NATS_OK)
        return;
    for (int i = 0; i < list.Count; i++)
        driver_outcome(&(struct driver_outcome){.k = number_of(list.Msgs[i]), .kind = "in_doubt", .text = "in the pending list at close"});
    natsMsgList_Destroy(&list);
}

static void close_client(int64_t limit_ms, char *why)
{
    closing = true;
    driver_stop_publishing(); /* js_PublishAsyncComplete waits for what is published meanwhile, too */
    jsPubOptions options;
    jsPubOptions_Init(&options);
    options.MaxWait = limit_ms;
    if (explain(js_PublishAsyncComplete(context, &options), "js_PublishAsyncComplete", why) == NATS_OK)
        snprintf(why, DRIVER_TEXT, "OK");
    else
        tell_what_is_left();
    natsConnection_Close(connection);
}

static void release(void)
{
    jsCtx_Destroy(context);
    natsConnection_Destroy(connection);
}

static bool close_in_handler(char *why)
{
    closing = true;
    natsConnection_Close(connection);
    snprintf(why, DRIVER_TEXT, "natsConnection_Close returned");
    return true;
}

/* Nothing is promised for a child of fork; it should at least end. */
static bool in_child(char *why)
{
    char published[DRIVER_TEXT];
    publish(&(struct driver_message){.subject = args->subjects[0], .payload = "child", .payload_len = 5}, published);
    natsConnection_Close(connection);
    snprintf(why, DRIVER_TEXT, "%.400s; natsConnection_Close returned", published);
    return true;
}

/* ---- set up ---- */

static void must(natsStatus status, const char *what)
{
    if (status != NATS_OK)
        driver_die(what, natsStatus_GetText(status));
}

static natsOptions *connect_options(void)
{
    static char servers[4096];
    const char *list[64];
    int count = 0;
    snprintf(servers, sizeof servers, "%s", args->url);
    for (char *rest = servers, *one; count < 64 && (one = strsep(&rest, ",")) != NULL;)
        list[count++] = one;
    natsOptions *options = NULL;
    must(natsOptions_Create(&options), "options");
    must(natsOptions_SetServers(options, list, count), "url");
    must(natsOptions_SetMaxReconnect(options, -1), "max reconnect");
    must(natsOptions_SetReconnectWait(options, 50), "reconnect wait");
    must(natsOptions_SetReconnectJitter(options, 50, 50), "reconnect jitter");
    must(natsOptions_SetPingInterval(options, 5000), "ping interval");
    must(natsOptions_SetMaxPingsOut(options, 2), "pings out");
    must(natsOptions_SetRetryOnFailedConnect(options, true, NULL, NULL), "retry on failed connect");
    must(natsOptions_SetDisconnectedCB(options, on_disconnected, NULL), "disconnected");
    must(natsOptions_SetReconnectedCB(options, on_reconnected, NULL), "reconnected");
    must(natsOptions_SetClosedCB(options, on_closed, NULL), "closed");
    must(natsOptions_SetErrorHandler(options, on_error, NULL), "error handler");
    return options;
}

int main(int argc, char **argv)
{
    args = driver_start(argc, argv);
    natsOptions *options = connect_options();
    must(natsConnection_Connect(&connection, options), "connect");
    natsOptions_Destroy(options);
    jsOptions js;
    must(jsOptions_Init(&js), "JetStream options");
    js.PublishAsync.MaxPending = args->max_pending >= 0 ? args->max_pending : 10000;
    js.PublishAsync.AckHandler = on_ack;
    js.PublishAsync.StallWait = args->ack_timeout_ms + 5000;
    must(natsConnection_JetStream(&context, connection, &js), "JetStream");
    char name[64];
    snprintf(name, sizeof name, "nats.c %s", nats_GetVersion());
    driver_run(&(struct driver_client){.name = name,
                                       .c_strings = true,
                                       .publish = publish,
                                       .close = close_client,
                                       .release = release,
                                       .close_in_handler = close_in_handler,
                                       .in_child = in_child});
}
