/* ackbus_publisher_publish_packed: what is stored is what was packed, and whatever is packed wrongly gets an error. */
#include "check.h"

enum { SLAB = 4096 };

/* Writes into a slab what a binding would. */
struct packer {
    uint8_t slab[SLAB];
    size_t used;
};

static ackbus_span put(struct packer *packer, const void *bytes, size_t len)
{
    CHECK(packer->used + len <= SLAB);
    ackbus_span span = {(uint32_t)packer->used, (uint32_t)len};
    memcpy(packer->slab + packer->used, bytes, len);
    packer->used += len;
    return span;
}

static ackbus_span put_text(struct packer *packer, const char *text)
{
    return put(packer, text, strlen(text));
}

static void put_header(struct packer *packer, ackbus_packed *message, const char *name, const char *value)
{
    uint32_t lengths[2] = {(uint32_t)strlen(name), (uint32_t)strlen(value)};
    ackbus_span span = put(packer, lengths, sizeof lengths);
    put_text(packer, name);
    put_text(packer, value);
    if (message->header_count++ == 0)
        message->headers.start = span.start;
    message->headers.len = (uint32_t)packer->used - message->headers.start;
}

static ackbus_packed packed(struct packer *packer, const char *topic, const char *payload)
{
    ackbus_packed message;
    memset(&message, 0, sizeof message);
    message.topic = put_text(packer, topic);
    message.payload = put_text(packer, payload);
    return message;
}

/* Publishes one message and takes its report. */
static ackbus_reports *outcome_of(ackbus_publisher *bus, const ackbus_packed *message, const struct packer *packer, ackbus_report *report)
{
    uint64_t id = 0;
    size_t accepted = 0, count = 0, stride = 0;
    ackbus_reports *reports = NULL;
    ERR(ACKBUS_OK, ackbus_publisher_publish_packed(bus, message, 1, sizeof *message, packer->slab, packer->used, &id, &accepted, &error));
    CHECK(accepted == 1 && id > 0);
    ERR(ACKBUS_OK, ackbus_publisher_poll(bus, 1, 60000, &reports, &error));
    const ackbus_report *first = ackbus_reports_data(reports, &count, &stride);
    CHECK(count == 1 && first->id == id);
    *report = *first;
    return reports;
}

static void every_field_arrives(void)
{
    ackbus_publisher *bus = connect_and_free(memory_config(OPTIONS("report", "all")));
    struct packer packer = {.used = 0};
    ackbus_report report;

    ackbus_packed full = packed(&packer, "a.topic", "payload");
    full.msg_id = put_text(&packer, "id-1");
    full.tag = UINT64_MAX;
    full.flags = ACKBUS_MSG_EXPECTED_LAST_SEQ | ACKBUS_MSG_EXPECTED_LAST_SUBJECT_SEQ;
    full.ttl_ms = 1000;
    full.delivery_timeout_ms = 60000;
    put_header(&packer, &full, "Name", "value");
    put_header(&packer, &full, "Empty", "");
    ackbus_reports *reports = outcome_of(bus, &full, &packer, &report);
    CHECK(report.persistence == ACKBUS_PERSISTED && report.tag == UINT64_MAX && report.stream_seq == 1);
    CHECK(strcmp(report.topic.data, "a.topic") == 0 && strcmp(report.msg_id.data, "id-1") == 0);
    CHECK(report.payload_len == 7 && memcmp(report.payload, "payload", 7) == 0);
    ackbus_reports_free(reports);

    /* Expectations are looked at: one after the other fails, each alone. */
    ackbus_packed wrong = packed(&packer, "a.topic", "");
    wrong.flags = ACKBUS_MSG_EXPECTED_LAST_SEQ;
    wrong.expected_last_seq = 7;
    ackbus_reports_free(outcome_of(bus, &wrong, &packer, &report));
    CHECK(report.status == ACKBUS_ERR_WRONG_EXPECTATION);
    wrong.flags = ACKBUS_MSG_EXPECTED_LAST_SUBJECT_SEQ;
    wrong.expected_last_subject_seq = 7;
    ackbus_reports_free(outcome_of(bus, &wrong, &packer, &report));
    CHECK(report.status == ACKBUS_ERR_WRONG_EXPECTATION);
    wrong.flags = 0;
    wrong.expected_last_msg_id = put_text(&packer, "another");
    ackbus_reports_free(outcome_of(bus, &wrong, &packer, &report));
    CHECK(report.status == ACKBUS_ERR_WRONG_EXPECTATION);
    wrong.expected_last_msg_id.len = 0;
    wrong.expected_stream = put_text(&packer, "NO_SUCH_STREAM");
    ackbus_reports_free(outcome_of(bus, &wrong, &packer, &report));
    CHECK(report.status == ACKBUS_ERR_WRONG_EXPECTATION);

    /* So is the trace context. */
    ackbus_packed traced = packed(&packer, "a.topic", "");
    traced.tracestate = put_text(&packer, "alone=1");
    CHECK(ackbus_publisher_publish_packed(bus, &traced, 1, sizeof traced, packer.slab, packer.used, NULL, NULL, NULL) == ACKBUS_ERR_INVALID_ARGUMENT);
    traced.traceparent = put_text(&packer, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    ackbus_reports_free(outcome_of(bus, &traced, &packer, &report));
    CHECK(report.persistence == ACKBUS_PERSISTED);
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
}

/* A newer header's struct is longer, an older one's shorter. */
static void strides(void)
{
    ackbus_publisher *bus = connect_and_free(memory_config(NULL));
    struct packer packer = {.used = 0};
    struct longer {
        ackbus_packed known;
        uint64_t unknown;
    } longer[2];
    for (int i = 0; i < 2; i++) {
        longer[i].known = packed(&packer, "a", "x");
        longer[i].unknown = UINT64_MAX;
    }
    size_t accepted = 0;
    ERR(ACKBUS_OK, ackbus_publisher_publish_packed(bus, &longer[0].known, 2, sizeof longer[0], packer.slab, packer.used, NULL, &accepted, &error));
    CHECK(accepted == 2);

    uint64_t shortest[2][(offsetof(ackbus_packed, headers) + 7) / 8];
    for (int i = 0; i < 2; i++)
        memcpy(shortest[i], &longer[i].known, sizeof shortest[i]);
    const ackbus_packed *first = (const ackbus_packed *)(const void *)shortest;
    ERR(ACKBUS_OK, ackbus_publisher_publish_packed(bus, first, 2, sizeof shortest[0], packer.slab, packer.used, NULL, &accepted, &error));
    CHECK(accepted == 2);

    const size_t wrong[] = {0, 8, sizeof(ackbus_packed) + 1, SIZE_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        accepted = 9;
        ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish_packed(bus, first, 2, wrong[i], packer.slab, packer.used, NULL, &accepted, &error));
        CHECK(accepted == 0);
    }
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
}

/* The second of three is bad: the first is accepted, the third is not. */
static void a_bad_one_ends_the_batch(ackbus_status expected, void (*spoil)(ackbus_packed *, struct packer *))
{
    ackbus_publisher *bus = connect_and_free(memory_config(NULL));
    struct packer packer = {.used = 0};
    ackbus_packed messages[3];
    for (int i = 0; i < 3; i++)
        messages[i] = packed(&packer, "a", "x");
    put_header(&packer, &messages[0], "First", "1");
    put_header(&packer, &messages[1], "Second", "2");
    spoil(&messages[1], &packer);
    uint64_t ids[3] = {0, 0, 0};
    size_t accepted = 9;
    ERR(expected, ackbus_publisher_publish_packed(bus, messages, 3, sizeof messages[0], packer.slab, packer.used, ids, &accepted, &error));
    CHECK(accepted == 1 && ids[0] == 1 && ids[1] == 0 && ids[2] == 0);
    ERR(ACKBUS_OK, ackbus_publisher_flush(bus, 60000, &error));
    ackbus_stats stats = ACKBUS_STATS_INIT;
    IS(ACKBUS_OK, ackbus_publisher_stats(bus, &stats));
    CHECK(stats.accepted == 1 && stats.published == 1);
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
}

static void topic_beyond(ackbus_packed *message, struct packer *packer) { message->topic = (ackbus_span){(uint32_t)packer->used, 1}; }
static void payload_beyond(ackbus_packed *message, struct packer *packer) { (void)packer, message->payload = (ackbus_span){UINT32_MAX, UINT32_MAX}; }
static void id_beyond(ackbus_packed *message, struct packer *packer) { message->msg_id = (ackbus_span){0, (uint32_t)packer->used + 1}; }
static void headers_beyond(ackbus_packed *message, struct packer *packer) { message->headers.len = (uint32_t)packer->used + 1; }
static void header_too_long(ackbus_packed *message, struct packer *packer) { packer->slab[message->headers.start + 4] = 200; }
static void header_cut(ackbus_packed *message, struct packer *packer) { (void)packer, message->headers.len = 7; }
static void header_missing(ackbus_packed *message, struct packer *packer) { (void)packer, message->header_count = 2; }
static void header_too_many(ackbus_packed *message, struct packer *packer) { (void)packer, message->header_count = UINT32_MAX; }
static void bytes_left(ackbus_packed *message, struct packer *packer) { put_header(packer, message, "Third", "3"), message->header_count = 1; }
static void unknown_flag(ackbus_packed *message, struct packer *packer) { (void)packer, message->flags = 1U << 31; }
static void no_topic(ackbus_packed *message, struct packer *packer) { (void)packer, message->topic.len = 0; }
static void bad_topic(ackbus_packed *message, struct packer *packer) { message->topic = put_text(packer, "a b"); }
static void no_utf8(ackbus_packed *message, struct packer *packer) { message->topic = put_text(packer, "\xff"); }
static void header_no_utf8(ackbus_packed *message, struct packer *packer) { packer->slab[message->headers.start + message->headers.len - 1] = 0xff; }
static void bad_header(ackbus_packed *message, struct packer *packer) { put_header(packer, message, "a:b", "x"); }

static void arguments(void)
{
    ackbus_publisher *bus = connect_and_free(memory_config(NULL));
    struct packer packer = {.used = 0};
    ackbus_packed message = packed(&packer, "a", "x");
    ERR(ACKBUS_OK, ackbus_publisher_publish_packed(bus, NULL, 0, 0, NULL, 0, NULL, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish_packed(NULL, &message, 1, sizeof message, packer.slab, packer.used, NULL, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish_packed(bus, NULL, 1, sizeof message, packer.slab, packer.used, NULL, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish_packed(bus, &message, 1, sizeof message, NULL, packer.used, NULL, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish_packed(bus, &message, 1, sizeof message, packer.slab, SIZE_MAX, NULL, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish_packed(bus, &message, SIZE_MAX, sizeof message, packer.slab, packer.used, NULL, NULL, &error));
    /* Without a slab there is nothing to be a part of. */
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish_packed(bus, &message, 1, sizeof message, NULL, 0, NULL, NULL, &error));
    IS(ACKBUS_OK, ackbus_publisher_publish_packed(bus, &message, 1, sizeof message, packer.slab, packer.used, NULL, NULL, NULL));
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
}

int main(void)
{
    every_field_arrives();
    strides();
    a_bad_one_ends_the_batch(ACKBUS_ERR_INVALID_ARGUMENT, topic_beyond);
    a_bad_one_ends_the_batch(ACKBUS_ERR_INVALID_ARGUMENT, payload_beyond);
    a_bad_one_ends_the_batch(ACKBUS_ERR_INVALID_ARGUMENT, id_beyond);
    a_bad_one_ends_the_batch(ACKBUS_ERR_INVALID_ARGUMENT, headers_beyond);
    a_bad_one_ends_the_batch(ACKBUS_ERR_INVALID_ARGUMENT, header_too_long);
    a_bad_one_ends_the_batch(ACKBUS_ERR_INVALID_ARGUMENT, header_cut);
    a_bad_one_ends_the_batch(ACKBUS_ERR_INVALID_ARGUMENT, header_missing);
    a_bad_one_ends_the_batch(ACKBUS_ERR_INVALID_ARGUMENT, header_too_many);
    a_bad_one_ends_the_batch(ACKBUS_ERR_INVALID_ARGUMENT, bytes_left);
    a_bad_one_ends_the_batch(ACKBUS_ERR_INVALID_ARGUMENT, unknown_flag);
    a_bad_one_ends_the_batch(ACKBUS_ERR_INVALID_TOPIC, no_topic);
    a_bad_one_ends_the_batch(ACKBUS_ERR_INVALID_TOPIC, bad_topic);
    a_bad_one_ends_the_batch(ACKBUS_ERR_INVALID_UTF8, no_utf8);
    a_bad_one_ends_the_batch(ACKBUS_ERR_INVALID_UTF8, header_no_utf8);
    a_bad_one_ends_the_batch(ACKBUS_ERR_INVALID_HEADER, bad_header);
    arguments();
    return 0;
}
