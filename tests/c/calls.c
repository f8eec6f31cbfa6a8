/* Every call doing what its comment says, on the in-memory backend. Callbacks have a file of their own. */
#include "check.h"

#include <poll.h>

static void versions_and_names(void)
{
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", ACKBUS_VERSION_MAJOR, ACKBUS_VERSION_MINOR, ACKBUS_VERSION_PATCH);
    CHECK(ackbus_version() == ACKBUS_VERSION && ackbus_abi_version() == ACKBUS_ABI_VERSION && strcmp(ackbus_version_string(), text) == 0);
    IS(ACKBUS_OK, ackbus_check_abi());
    IS(ACKBUS_ERR_ABI_MISMATCH, ackbus_check_abi_(ACKBUS_ABI_VERSION + 1, sizeof(ackbus_message), sizeof(ackbus_report), sizeof(ackbus_stats)));
    IS(ACKBUS_ERR_ABI_MISMATCH, ackbus_check_abi_(ACKBUS_ABI_VERSION, sizeof(ackbus_message), sizeof(ackbus_report) + 8, sizeof(ackbus_stats)));
    IS(ACKBUS_ERR_ABI_MISMATCH, ackbus_check_abi_(ACKBUS_ABI_VERSION, sizeof(ackbus_message), sizeof(ackbus_report), 0));
    /* A program that was compiled when reports had no domain. */
    IS(ACKBUS_OK, ackbus_check_abi_(ACKBUS_ABI_VERSION, sizeof(ackbus_message), offsetof(ackbus_report, domain), sizeof(ackbus_stats)));
    IS(ACKBUS_ERR_ABI_MISMATCH, ackbus_check_abi_(ACKBUS_ABI_VERSION, sizeof(ackbus_message), offsetof(ackbus_report, domain) - 8, sizeof(ackbus_stats)));
    CHECK(strcmp(ackbus_status_name(ACKBUS_OK), "OK") == 0 && strcmp(ackbus_status_name(ACKBUS_ERR_INTERNAL), "INTERNAL") == 0);
    CHECK(strlen(ackbus_status_text(ACKBUS_ERR_FORKED)) > 10);
    CHECK(ackbus_status_is_retriable(ACKBUS_ERR_QUEUE_FULL) && !ackbus_status_is_retriable(ACKBUS_ERR_CLOSED) && !ackbus_status_is_retriable(ACKBUS_OK));
    CHECK(strcmp(ackbus_event_kind_name(ACKBUS_EVENT_CLOSED), "CLOSED") == 0);
}

static void config_reads_back(void)
{
    ackbus_config *config = ackbus_config_new();
    char value[16];
    size_t len = 99, keys = 0;
    ERR(ACKBUS_OK, ackbus_config_set(config, "max_pending", "17", &error));
    ERR(ACKBUS_OK, ackbus_config_get(config, "max_pending", value, sizeof value, &len, &error));
    CHECK(len == 2 && strcmp(value, "17") == 0);
    ERR(ACKBUS_OK, ackbus_config_get(config, "max_pending", value, 3, NULL, &error)); /* just enough */
    ERR(ACKBUS_OK, ackbus_config_get(config, "max_pending", NULL, 0, &len, &error));
    memset(value, 'x', sizeof value);
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_get(config, "max_pending", value, 2, &len, &error));
    CHECK(len == 2 && value[0] == 'x');

    ERR(ACKBUS_OK, ackbus_config_set(config, "password", "secret", &error));
    ackbus_config *clone = ackbus_config_clone(config);
    ERR(ACKBUS_OK, ackbus_config_get(clone, "password", value, sizeof value, &len, &error));
    CHECK(strcmp(value, "***") == 0);
    ERR(ACKBUS_OK, ackbus_config_set(clone, "max_pending", "18", &error));
    ERR(ACKBUS_OK, ackbus_config_get(config, "max_pending", value, sizeof value, &len, &error));
    CHECK(strcmp(value, "17") == 0);

    while (ackbus_config_key(keys) != NULL)
        ERR(ACKBUS_OK, ackbus_config_get(config, ackbus_config_key(keys++), NULL, 0, NULL, &error));
    CHECK(keys > 40 && ackbus_config_key(SIZE_MAX) == NULL);
    CHECK(ackbus_config_topic_key(0) != NULL && ackbus_config_topic_key(100) == NULL);
    ackbus_config_free(clone);
    ackbus_config_free(config);
}

/* A report says what the message was, and stays when the publisher is gone. */
static void polled_reports(void)
{
    ackbus_publisher *bus = connect_and_free(memory_config(OPTIONS("report", "all")));
    const ackbus_header headers[] = {{ackbus_str_of("Color"), ackbus_str_of("red")}, {ackbus_str_of("Empty"), {NULL, 0}}};
    ackbus_message message = message_of("orders.created", "{\"id\":1}");
    message.headers = headers;
    message.header_count = 2;
    message.msg_id = ackbus_str_of("order-1");
    message.tag = UINT64_MAX;
    uint64_t id = 0;
    ERR(ACKBUS_OK, ackbus_publisher_publish_msg(bus, &message, &id, &error));
    CHECK(id == 1);

    struct pollfd wake = {.fd = ackbus_publisher_wake_fd(bus), .events = POLLIN};
    CHECK(poll(&wake, 1, 10000) == 1);
    ackbus_reports *batch = NULL;
    ERR(ACKBUS_OK, ackbus_publisher_poll(bus, 10, -1, &batch, &error));
    CHECK(!ackbus_reports_has_room(batch));
    ERR(ACKBUS_OK, ackbus_publisher_close(bus, -1, &error));
    ackbus_reports *none = NULL;
    ERR(ACKBUS_ERR_CLOSED, ackbus_publisher_poll(bus, 10, 0, &none, &error));
    CHECK(none == NULL);
    IS(ACKBUS_OK, ackbus_publisher_free(bus));

    const ackbus_report *report = only(batch);
    CHECK(report->tag == UINT64_MAX && report->id == 1 && report->stream_seq == 1);
    CHECK(report->status == ACKBUS_OK && report->persistence == ACKBUS_PERSISTED && report->flags == 0 && report->server_code == 0);
    CHECK(report->attempts == 1 && report->latency_ns > 0 && report->reserved == 0);
    CHECK(is_text(report->topic, "orders.created") && is_text(report->msg_id, "order-1") && report->stream.len > 0 && is_text(report->text, ""));
    CHECK(is_text(report->domain, ""));
    CHECK(report->payload_len == 8 && memcmp(report->payload, "{\"id\":1}", 8) == 0);
    ackbus_reports_free(batch);
}

/* Only the marked one of two messages says so, and the next message in the same slot does not inherit it. */
static void marks_come_back(void)
{
    ackbus_publisher *bus = connect_and_free(memory_config(OPTIONS("max_pending", "1")));
    ackbus_message message = message_of("orders.created", "{}");
    const uint32_t flags[] = {ACKBUS_MSG_REPORT_ALWAYS, ACKBUS_MSG_REPORT_ALWAYS | ACKBUS_MSG_MARK, ACKBUS_MSG_REPORT_ALWAYS};
    for (size_t i = 0; i < 3; i++) {
        message.flags = flags[i];
        ackbus_reports *batch = NULL;
        ERR(ACKBUS_OK, ackbus_publisher_publish_msg(bus, &message, NULL, &error));
        ERR(ACKBUS_OK, ackbus_publisher_poll(bus, 10, -1, &batch, &error));
        CHECK(only(batch)->flags == (i == 1 ? ACKBUS_REPORT_MARK : 0));
        ackbus_reports_free(batch);
    }
    /* A mark alone asks for no report. */
    message.flags = ACKBUS_MSG_MARK;
    ERR(ACKBUS_OK, ackbus_publisher_publish_msg(bus, &message, NULL, &error));
    ERR(ACKBUS_OK, ackbus_publisher_close(bus, -1, &error));
    ackbus_reports *none = NULL;
    ERR(ACKBUS_ERR_CLOSED, ackbus_publisher_poll(bus, 10, 0, &none, &error));
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
}

/* One place of eight is room: who was refused hears of it, once, and again when it was refused again. */
static void room_is_told(void)
{
    ackbus_publisher *bus = connect_and_free(memory_config(OPTIONS("max_pending", "8", "on_full", "fail", "report", "all")));
    struct pollfd wake = {.fd = ackbus_publisher_wake_fd(bus), .events = POLLIN};
    ackbus_events *events = NULL;
    ERR(ACKBUS_OK, ackbus_publisher_poll_events(bus, 10, -1, &events, &error));
    ackbus_events_free(events);
    ackbus_reports *held = NULL, *batch = NULL;
    for (int i = 0; i < 8; i++)
        ERR(ACKBUS_OK, ackbus_publisher_publish(bus, "a", 1, NULL, 0, 0, NULL, &error));
    ERR(ACKBUS_OK, ackbus_publisher_flush(bus, -1, &error));
    for (int round = 0; round < 3; round++) {
        ackbus_error *full = NULL;
        IS(ACKBUS_ERR_QUEUE_FULL, ackbus_publisher_publish(bus, "a", 1, NULL, 0, 0, NULL, &full));
        CHECK(ackbus_error_held_by(full) == 0);
        ackbus_error_free(full);
        ERR(ACKBUS_OK, ackbus_publisher_poll(bus, 1, 0, &batch, &error));
        CHECK(!ackbus_reports_has_room(batch));
        if (round == 0) { /* the other seven stay in hand */
            ERR(ACKBUS_OK, ackbus_publisher_poll(bus, 7, 0, &held, &error));
            CHECK(poll(&wake, 1, 0) == 0);
        }
        ackbus_reports_free(batch);
        CHECK(poll(&wake, 1, 0) == 1);
        ERR(ACKBUS_OK, ackbus_publisher_poll(bus, 1, 0, &batch, &error));
        CHECK(ackbus_reports_has_room(batch));
        ackbus_reports_free(batch);
        CHECK(poll(&wake, 1, 0) == 0);
        ERR(ACKBUS_OK, ackbus_publisher_publish(bus, "a", 1, NULL, 0, 0, NULL, &error));
        ERR(ACKBUS_OK, ackbus_publisher_flush(bus, -1, &error));
    }
    ackbus_reports_free(held);
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
}

static void poll_without_reports(void)
{
    ackbus_publisher *bus = connect_and_free(memory_config(NULL));
    ackbus_reports *batch = NULL;
    size_t count = 7, stride = 7;
    ERR(ACKBUS_OK, ackbus_publisher_poll(bus, 10, 0, &batch, &error));
    CHECK(batch != NULL && ackbus_reports_data(batch, &count, &stride) == NULL && count == 0 && stride == 0);
    ackbus_reports_free(batch);

    ackbus_events *events = NULL;
    ERR(ACKBUS_OK, ackbus_publisher_wait_connected(bus, -1, &error));
    ERR(ACKBUS_OK, ackbus_publisher_poll_events(bus, 10, 5000, &events, &error));
    const ackbus_event *event = ackbus_event_at(ackbus_events_data(events, &count, &stride), stride, 0);
    CHECK(count >= 1 && stride == event->struct_size && stride >= sizeof(ackbus_event));
    CHECK(event->kind == ACKBUS_EVENT_CONNECTED && event->status == ACKBUS_OK && event->time_unix_ns > INT64_C(1500000000) * 1000000000);
    CHECK(strlen(event->server.data) == event->server.len && strlen(event->text.data) == event->text.len && is_text(event->topic, ""));
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
    CHECK(event->kind == ACKBUS_EVENT_CONNECTED); /* the batch outlives the publisher */
    ackbus_events_free(events);
}

static void wait_for_the_outcome(void)
{
    ackbus_publisher *bus = connect_and_free(memory_config(NULL));
    ackbus_message message = message_of("orders.created", "{}");
    ackbus_reports *batch = NULL;
    ERR(ACKBUS_OK, ackbus_publisher_publish_wait(bus, &message, -1, &batch, &error));
    CHECK(only(batch)->persistence == ACKBUS_PERSISTED);
    ackbus_reports_free(batch);
    IS(ACKBUS_OK, ackbus_publisher_publish_wait(bus, &message, -1, NULL, NULL));

    /* 0 is a sequence like any other, and the stream's last is 2. */
    message.flags = ACKBUS_MSG_EXPECTED_LAST_SEQ;
    ackbus_error *error = NULL;
    IS(ACKBUS_ERR_WRONG_EXPECTATION, ackbus_publisher_publish_wait(bus, &message, -1, &batch, &error));
    const ackbus_report *report = only(batch);
    CHECK(report->status == ACKBUS_ERR_WRONG_EXPECTATION && report->persistence == ACKBUS_NOT_PERSISTED);
    CHECK(ackbus_error_server_code(error) == report->server_code && is_text(ackbus_error_message(error), report->text.data));
    CHECK(!ackbus_error_is_retriable(error) && !ackbus_error_is_fatal(error));
    ackbus_error_free(error);
    ackbus_reports_free(batch);

    message.expected_last_seq = 2;
    IS(ACKBUS_OK, ackbus_publisher_publish_wait(bus, &message, -1, NULL, NULL));
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
}

static void batches(void)
{
    ackbus_publisher *bus = connect_and_free(memory_config(NULL));
    const ackbus_header good = {ackbus_str_of("N"), ackbus_str_of("1")}, bad = {ackbus_str_of("N"), ackbus_str_of("\xff")};
    ackbus_message messages[5];
    for (int i = 0; i < 5; i++) {
        messages[i] = message_of("orders.created", "{}");
        messages[i].headers = &good;
        messages[i].header_count = i % 2 == 0;
    }
    uint64_t ids[5] = {0};
    size_t accepted = 99;
    ERR(ACKBUS_OK, ackbus_publisher_publish_batch(bus, messages, 5, ids, &accepted, &error));
    CHECK(accepted == 5 && ids[0] == 1 && ids[4] == 5);
    ERR(ACKBUS_OK, ackbus_publisher_publish_batch(bus, NULL, 0, NULL, &accepted, &error));
    CHECK(accepted == 0);

    /* A prefix is accepted: up to the first bad message, whatever is bad about it. */
    messages[3].headers = &bad;
    messages[3].header_count = 1;
    memset(ids, 0, sizeof ids);
    ERR(ACKBUS_ERR_INVALID_UTF8, ackbus_publisher_publish_batch(bus, messages, 5, ids, &accepted, &error));
    CHECK(accepted == 3 && ids[2] == 8 && ids[3] == 0);
    messages[1].topic = ackbus_str_of("no good");
    ERR(ACKBUS_ERR_INVALID_TOPIC, ackbus_publisher_publish_batch(bus, messages, 5, NULL, &accepted, &error));
    CHECK(accepted == 1);
    IS(ACKBUS_ERR_INVALID_TOPIC, ackbus_publisher_publish_batch(bus, messages, 5, NULL, NULL, NULL));
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
}

/* T18: headers of older and of newer versions. */
static void struct_sizes(void)
{
    ackbus_publisher *bus = connect_and_free(memory_config(NULL));
    struct { /* a newer header's message */
        ackbus_message message;
        uint64_t later[4];
    } newer[2] = {{message_of("orders.created", "1"), {1, 2, 3, 4}}, {message_of("orders.created", "2"), {1, 2, 3, 4}}};
    newer[0].message.struct_size = newer[1].message.struct_size = sizeof newer[0];
    size_t accepted = 0;
    ERR(ACKBUS_OK, ackbus_publisher_publish_batch(bus, &newer[0].message, 2, NULL, &accepted, &error));
    CHECK(accepted == 2);

    ackbus_message older[2] = {message_of("orders.created", "3"), message_of("orders.created", "4")};
    memset(&older[0].headers, 0xee, sizeof older[0] - offsetof(ackbus_message, headers)); /* what an older header did not have */
    older[0].struct_size = offsetof(ackbus_message, headers);
    ERR(ACKBUS_OK, ackbus_publisher_publish_msg(bus, &older[0], NULL, &error));

    struct {
        ackbus_stats stats;
        uint64_t later;
    } newer_stats = {ACKBUS_STATS_INIT, 77};
    newer_stats.stats.struct_size = sizeof newer_stats;
    IS(ACKBUS_OK, ackbus_publisher_flush(bus, -1, NULL));
    IS(ACKBUS_OK, ackbus_publisher_stats(bus, &newer_stats.stats));
    CHECK(newer_stats.stats.accepted == 3 && newer_stats.later == 77 && newer_stats.stats.struct_size == sizeof newer_stats);

    ackbus_stats older_stats = ACKBUS_STATS_INIT;
    older_stats.struct_size = offsetof(ackbus_stats, published);
    older_stats.published = 77;
    IS(ACKBUS_OK, ackbus_publisher_stats(bus, &older_stats));
    CHECK(older_stats.accepted == 3 && older_stats.published == 77 && older_stats.struct_size == offsetof(ackbus_stats, published));

    ackbus_info info = ACKBUS_INFO_INIT;
    info.struct_size = offsetof(ackbus_info, server);
    IS(ACKBUS_OK, ackbus_publisher_info(bus, &info));
    CHECK(info.state == ACKBUS_STATE_CONNECTED && info.max_payload > 0 && info.server[0] == '\0');
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
}

static void figures_and_state(void)
{
    ackbus_publisher *bus = connect_and_free(memory_config(NULL));
    ackbus_info info = ACKBUS_INFO_INIT;
    ackbus_stats stats = ACKBUS_STATS_INIT;
    IS(ACKBUS_OK, ackbus_publisher_info(bus, &info));
    CHECK(info.state == ACKBUS_STATE_CONNECTED && info.last_error == ACKBUS_OK && strlen(info.server) > 0 && info.last_error_text[0] == '\0');
    for (int i = 0; i < 100; i++)
        IS(ACKBUS_OK, publish_text(bus, "orders.created", "{}"));
    ERR(ACKBUS_OK, ackbus_publisher_flush(bus, -1, &error));
    CHECK(ackbus_publisher_pending(bus) == 0);
    IS(ACKBUS_OK, ackbus_publisher_stats(bus, &stats));
    CHECK(stats.accepted == 100 && stats.published == 100 && stats.publish_errors == 0 && stats.pending == 0 && stats.latency_max_ns > 0);
    CHECK(stats.latency_p50_ns <= stats.latency_p99_ns);

    uint64_t purged = 99;
    ERR(ACKBUS_OK, ackbus_publisher_purge(bus, ACKBUS_PURGE_UNSENT | ACKBUS_PURGE_IN_FLIGHT, &purged, &error));
    CHECK(purged == 0);
    ERR(ACKBUS_OK, ackbus_publisher_set_topic(bus, "news.>", "mode", "ephemeral", &error));
    ackbus_message news = message_of("news.today", "rain");
    ackbus_reports *batch = NULL;
    ERR(ACKBUS_OK, ackbus_publisher_publish_wait(bus, &news, -1, &batch, &error)); /* resolves when it is written */
    CHECK(only(batch)->flags == ACKBUS_REPORT_EPHEMERAL && only(batch)->persistence == ACKBUS_POSSIBLY_PERSISTED && only(batch)->stream_seq == 0);
    ackbus_reports_free(batch);
    IS(ACKBUS_OK, ackbus_publisher_close(bus, -1, NULL));
    IS(ACKBUS_OK, ackbus_publisher_info(bus, &info));
    CHECK(info.state == ACKBUS_STATE_CLOSED);
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
}

/* In poll mode a full window of unread reports says QUEUE_FULL instead of waiting for ever (P5). */
static void poll_first(void)
{
    ackbus_publisher *bus = connect_and_free(memory_config(OPTIONS("report", "all", "max_pending", "4")));
    for (int i = 0; i < 4; i++)
        IS(ACKBUS_OK, publish_text(bus, "orders.created", "{}"));
    ackbus_message message = message_of("orders.created", "{}");
    ERR(ACKBUS_ERR_QUEUE_FULL, ackbus_publisher_publish_msg(bus, &message, NULL, &error));
    message.stall_wait_ms = 0;
    message.flags = ACKBUS_MSG_STALL_WAIT;
    ERR(ACKBUS_ERR_QUEUE_FULL, ackbus_publisher_publish_msg(bus, &message, NULL, &error));
    ackbus_reports *batch = NULL;
    ERR(ACKBUS_OK, ackbus_publisher_poll(bus, 3, -1, &batch, &error));
    ackbus_reports_free(batch);
    ERR(ACKBUS_OK, ackbus_publisher_publish_msg(bus, &message, NULL, &error));
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
}

int main(void)
{
    versions_and_names();
    config_reads_back();
    polled_reports();
    marks_come_back();
    room_is_told();
    poll_without_reports();
    wait_for_the_outcome();
    batches();
    struct_sizes();
    figures_and_state();
    poll_first();
    return 0;
}
