/* The fault driver of ackbus through its C ABI: one callback for the outcomes of all messages, or a thread that polls. All options keep their defaults except
 * report=all, since the checker wants to know of successes too, and what set: and topic: say. */
#include <ackbus.h>

#include "driver.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const struct driver_args *args;
static ackbus_publisher *bus;
static pthread_t poller;

static ackbus_status explain(ackbus_status status, ackbus_error *error, char *why)
{
    snprintf(why, DRIVER_TEXT, "%s: %s", ackbus_status_name(status), ackbus_error_message(error).data);
    ackbus_error_free(error);
    return status;
}

/* ---- outcomes ---- */

static void tell(const ackbus_report *report)
{
    char text[DRIVER_TEXT];
    snprintf(text, sizeof text, "%s: %s", ackbus_status_name(report->status), report->text.data);
    const char *kind = report->persistence == ACKBUS_PERSISTED ? "acked" : report->persistence == ACKBUS_NOT_PERSISTED ? "refused" : "in_doubt";
    driver_outcome(&(struct driver_outcome){.k = report->tag,
                                            .seq = report->stream_seq,
                                            .kind = kind,
                                            .text = text,
                                            .code = report->server_code,
                                            .duplicate = (report->flags & ACKBUS_REPORT_DUPLICATE) != 0});
}

static void on_reports(void *user_data, const ackbus_report *reports, size_t count, size_t stride)
{
    (void)user_data;
    for (size_t i = 0; i < count; i++)
        tell(ackbus_report_at(reports, stride, i));
}

/* Polls until the publisher is closed and nothing is left. Inside enter and leave the handler has the rules and the places of a callback. */
static void *poll_reports(void *unused)
{
    (void)unused;
    ackbus_reports *batch = NULL;
    ackbus_status status;
    while ((status = ackbus_publisher_poll(bus, 256, -1, &batch, NULL)) == ACKBUS_OK) {
        size_t count, stride;
        const ackbus_report *reports = ackbus_reports_data(batch, &count, &stride);
        if (ackbus_callback_enter(batch, NULL) != ACKBUS_OK)
            driver_error("ackbus", "callback_enter was refused");
        on_reports(NULL, reports, count, stride);
        ackbus_callback_leave();
        ackbus_reports_free(batch);
    }
    if (status != ACKBUS_ERR_CLOSED)
        driver_error("poll", ackbus_status_name(status));
    return NULL;
}

static void on_event(void *user_data, const ackbus_event *event)
{
    (void)user_data;
    if (event->kind == ACKBUS_EVENT_DISCONNECTED)
        driver_state("disconnected");
    else if (event->kind == ACKBUS_EVENT_RECONNECTED)
        driver_state("reconnected");
    else if (event->kind == ACKBUS_EVENT_FAILED)
        driver_state("failed");
    if (event->status != ACKBUS_OK)
        driver_error(ackbus_event_kind_name(event->kind), event->text.data);
}

/* ---- what the frame calls ---- */

static enum driver_taken publish(const struct driver_message *given, char *why)
{
    const ackbus_header header = {ackbus_str_of(given->header), ackbus_str_of(given->header_value)};
    ackbus_message message = ACKBUS_MESSAGE_INIT;
    message.topic = (ackbus_str){given->subject, given->subject_len};
    message.payload = given->payload;
    message.payload_len = given->payload_len;
    message.headers = &header;
    message.header_count = given->header != NULL;
    message.msg_id = ackbus_str_of(given->msg_id);
    message.tag = given->k;
    ackbus_error *error = NULL;
    ackbus_status status = ackbus_publisher_publish_msg(bus, &message, NULL, &error);
    if (status == ACKBUS_OK)
        return TAKEN;
    explain(status, error, why);
    return status == ACKBUS_ERR_CLOSED ? CLOSED : REFUSED;
}

static int64_t pending(void)
{
    return (int64_t)ackbus_publisher_pending(bus);
}

static void close_bus(int64_t limit_ms, char *why)
{
    ackbus_error *error = NULL;
    ackbus_status status = ackbus_publisher_close(bus, limit_ms, &error);
    if (status != ACKBUS_OK)
        explain(status, error, why);
    else if (args->poll)
        pthread_join(poller, NULL); /* reports stay there to be polled after close: a program that polls is closed when it has them */
}

static void release(void)
{
    ackbus_status status = ackbus_publisher_free(bus);
    if (status != ACKBUS_OK)
        driver_error("free", ackbus_status_name(status));
}

static bool close_in_handler(char *why)
{
    ackbus_error *error = NULL;
    ackbus_status status = ackbus_publisher_close(bus, 0, &error);
    return explain(status, error, why) == ACKBUS_ERR_WRONG_THREAD;
}

/* P8: both are refused, and neither hangs. */
static bool in_child(char *why)
{
    ackbus_status published = ackbus_publisher_publish(bus, args->subjects[0], strlen(args->subjects[0]), "child", 5, 0, NULL, NULL);
    ackbus_status closed = ackbus_publisher_close(bus, 1000, NULL);
    snprintf(why, DRIVER_TEXT, "publish: %s; close: %s", ackbus_status_name(published), ackbus_status_name(closed));
    return published == ACKBUS_ERR_FORKED && closed == ACKBUS_ERR_FORKED;
}

/* ---- set up ---- */

static void set(ackbus_config *config, const char *key, const char *value)
{
    char why[DRIVER_TEXT];
    ackbus_error *error = NULL;
    ackbus_status status = ackbus_config_set(config, key, value, &error);
    if (status != ACKBUS_OK)
        driver_die(key, (explain(status, error, why), why));
}

/* `set:NAME=VALUE` and `topic:PATTERN:NAME=VALUE`. */
static void set_what_was_asked(ackbus_config *config, char *arg)
{
    char *value = strchr(arg, '=');
    if (value == NULL)
        return;
    *value++ = 0;
    char *name = strrchr(arg, ':');
    if (strncmp(arg, "set:", 4) == 0) {
        set(config, arg + 4, value);
    } else if (strncmp(arg, "topic:", 6) == 0 && name >= arg + 6) {
        *name++ = 0;
        char why[DRIVER_TEXT];
        ackbus_error *error = NULL;
        ackbus_status status = ackbus_config_set_topic(config, arg + 6, name, value, &error);
        if (status != ACKBUS_OK)
            driver_die(name, (explain(status, error, why), why));
    }
}

int main(int argc, char **argv)
{
    args = driver_start(argc, argv);
    ackbus_config *config = ackbus_config_new();
    set(config, "servers", args->url);
    set(config, "report", "all");
    if (args->max_pending >= 0) {
        char number[24];
        snprintf(number, sizeof number, "%lld", args->max_pending);
        set(config, "max_pending", number);
    }
    for (char **arg = args->all; *arg != NULL; arg++)
        set_what_was_asked(config, *arg);
    if (!args->poll)
        ackbus_config_on_reports(config, on_reports, NULL, NULL, NULL);
    ackbus_config_on_event(config, on_event, NULL, NULL, NULL);
    ackbus_error *error = NULL;
    char why[DRIVER_TEXT], name[64];
    ackbus_status status = ackbus_publisher_connect(config, &bus, &error);
    if (status != ACKBUS_OK)
        driver_die("connect", (explain(status, error, why), why));
    ackbus_config_free(config);
    if (args->poll && pthread_create(&poller, NULL, poll_reports, NULL) != 0)
        driver_die("thread", "cannot start one");
    snprintf(name, sizeof name, "ackbus %s (C, %s)", ackbus_version_string(), args->poll ? "poll" : "callback");
    driver_run(&(struct driver_client){.name = name,
                                       .publish = publish,
                                       .pending = pending,
                                       .close = close_bus,
                                       .release = release,
                                       .close_in_handler = close_in_handler,
                                       .in_child = in_child});
}
