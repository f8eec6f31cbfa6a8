/* P7: whatever is passed, short of a dangling pointer, gets an error and does no harm. The driver checks that every function of the header is called here, and
 * runs this program under AddressSanitizer and under valgrind as well. */
#include "check.h"

#define BAD "\xff\xfe"                     /* not UTF-8 */
#define HUGE_LEN ((size_t)PTRDIFF_MAX + 1) /* more than memory */
#define LARGE_LEN ((size_t)1 << 40)        /* refused before it is touched */

static ackbus_config *config;
static ackbus_publisher *bus;    /* with callbacks */
static ackbus_publisher *polled; /* without */

static void on_reports(void *user_data, const ackbus_report *reports, size_t count, size_t stride)
{
    (void)user_data, (void)reports, (void)count, (void)stride;
}

static void on_event(void *user_data, const ackbus_event *event)
{
    (void)user_data, (void)event;
}

static void on_log(void *user_data, int32_t level, ackbus_str target, ackbus_str text)
{
    (void)user_data, (void)level, (void)target, (void)text;
}

/* A handle of the wrong type, and one that is not aligned. */
#define NOT_A(type) ((type *)(void *)(strcmp(#type, "ackbus_config") == 0 ? (void *)bus : (void *)config))
#define BYTES ((const uint8_t *)"a")
#define ODD(type) ((type *)(void *)((char *)config + 1))

static void pure_functions(void)
{
    const ackbus_status unknown[] = {-1, 1, 99, 110, 999, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        CHECK(strcmp(ackbus_status_name(unknown[i]), "UNKNOWN") == 0 && strlen(ackbus_status_text(unknown[i])) > 0);
        CHECK(!ackbus_status_is_retriable(unknown[i]));
        CHECK(strcmp(ackbus_event_kind_name(unknown[i] == 1 ? 0 : unknown[i]), "UNKNOWN") == 0);
    }
    CHECK(ackbus_version() != 0 && ackbus_version_string() != NULL && ackbus_abi_version() == ACKBUS_ABI_VERSION);
    IS(ACKBUS_ERR_ABI_MISMATCH, ackbus_check_abi_(UINT32_MAX, 0, SIZE_MAX, SIZE_MAX));
    CHECK(ackbus_config_key(SIZE_MAX) == NULL && ackbus_config_topic_key(SIZE_MAX) == NULL);
}

static void errors(void)
{
    ackbus_error *error = NULL;
    IS(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_set(NULL, NULL, NULL, &error));
    const ackbus_error *const wrong[] = {NOT_A(ackbus_error), ODD(ackbus_error)};
    for (size_t i = 0; i < 2; i++) {
        IS(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_error_status(wrong[i]));
        CHECK(ackbus_error_message(wrong[i]).len == 0 && ackbus_error_message(wrong[i]).data[0] == '\0');
        CHECK(ackbus_error_server_code(wrong[i]) == 0 && ackbus_error_held_by(wrong[i]) == 0 && !ackbus_error_is_retriable(wrong[i]) && !ackbus_error_is_fatal(wrong[i]));
    }
    IS(ACKBUS_OK, ackbus_error_status(NULL));
    CHECK(ackbus_error_message(NULL).data[0] == '\0' && ackbus_error_server_code(NULL) == 0 && ackbus_error_held_by(NULL) == 0);
    CHECK(!ackbus_error_is_retriable(NULL) && !ackbus_error_is_fatal(NULL));
    ackbus_error_free(NULL);
    ackbus_error_free(NOT_A(ackbus_error));
    ackbus_error_free(error);
}

static void configs(void)
{
    char buf[8];
    ackbus_config *fresh = ackbus_config_new();
    CHECK(fresh != NULL);
    ackbus_config_free(fresh);
    CHECK(ackbus_config_clone(NULL) == NULL && ackbus_config_clone(NOT_A(ackbus_config)) == NULL);
    ackbus_config_free(NULL);
    ackbus_config_free(NOT_A(ackbus_config));

    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_set(NULL, "name", "x", &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_set(NOT_A(ackbus_config), "name", "x", &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_set(ODD(ackbus_config), "name", "x", &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_set(config, NULL, "x", &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_set(config, "name", NULL, &error));
    ERR(ACKBUS_ERR_INVALID_UTF8, ackbus_config_set(config, BAD, "x", &error));
    ERR(ACKBUS_ERR_INVALID_UTF8, ackbus_config_set(config, "name", BAD, &error));
    ERR(ACKBUS_ERR_INVALID_OPTION, ackbus_config_set(config, "", "x", &error));
    ERR(ACKBUS_ERR_INVALID_OPTION, ackbus_config_set(config, "no_such_option", "x", &error));
    ERR(ACKBUS_ERR_INVALID_OPTION, ackbus_config_set(config, "max_pending", "-1", &error));
    ERR(ACKBUS_ERR_INVALID_OPTION, ackbus_config_set(config, "max_pending", "99999999999999999999999", &error));
    ERR(ACKBUS_ERR_INVALID_OPTION, ackbus_config_set(config, "on_full", "maybe", &error));
    IS(ACKBUS_ERR_INVALID_OPTION, ackbus_config_set(config, "on_full", "maybe", NULL));

    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_get(NULL, "name", buf, sizeof buf, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_get(config, NULL, buf, sizeof buf, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_get(config, "max_pending", NULL, sizeof buf, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_get(config, "max_pending", buf, 0, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_UTF8, ackbus_config_get(config, BAD, buf, sizeof buf, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_OPTION, ackbus_config_get(config, "no_such_option", buf, sizeof buf, NULL, &error));

    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_set_topic(NULL, "a.>", "mode", "ephemeral", &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_set_topic(config, NULL, "mode", "ephemeral", &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_set_topic(config, "a.>", NULL, "ephemeral", &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_set_topic(config, "a.>", "mode", NULL, &error));
    ERR(ACKBUS_ERR_INVALID_UTF8, ackbus_config_set_topic(config, BAD, "mode", "ephemeral", &error));
    ERR(ACKBUS_ERR_INVALID_TOPIC, ackbus_config_set_topic(config, "", "mode", "ephemeral", &error));
    ERR(ACKBUS_ERR_INVALID_TOPIC, ackbus_config_set_topic(config, "a..b", "mode", "ephemeral", &error));
    ERR(ACKBUS_ERR_INVALID_OPTION, ackbus_config_set_topic(config, "a.>", "no_such_option", "x", &error));
    ERR(ACKBUS_ERR_INVALID_OPTION, ackbus_config_set_topic(config, "a.>", "mode", "x", &error));

    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_on_reports(NULL, on_reports, NULL, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_on_reports(config, NULL, NULL, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_on_event(NULL, on_event, NULL, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_config_on_event(config, NULL, NULL, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_log_set(-1, on_log, NULL, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_log_set(6, on_log, NULL, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_log_set(ACKBUS_LOG_WARN, NULL, NULL, NULL, &error));
    IS(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_log_set(INT32_MAX, NULL, NULL, NULL, NULL));
}

static void connecting(void)
{
    ackbus_publisher *out = NULL;
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_connect(NULL, &out, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_connect(NOT_A(ackbus_config), &out, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_connect(config, NULL, &error));
    IS(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_connect(NULL, NULL, NULL));
    CHECK(out == NULL);
    IS(ACKBUS_OK, ackbus_publisher_free(NULL));
    IS(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_free(NOT_A(ackbus_publisher)));
    IS(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_free(ODD(ackbus_publisher)));
}

static void publishing(void)
{
    uint64_t id = 77;
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish(NULL, "a", 1, "x", 1, 0, &id, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish(NOT_A(ackbus_publisher), "a", 1, "x", 1, 0, &id, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish(ODD(ackbus_publisher), "a", 1, "x", 1, 0, &id, &error));
    ERR(ACKBUS_ERR_INVALID_TOPIC, ackbus_publisher_publish(bus, NULL, 0, "x", 1, 0, &id, &error));
    ERR(ACKBUS_ERR_INVALID_TOPIC, ackbus_publisher_publish(bus, "", 0, "x", 1, 0, &id, &error));
    ERR(ACKBUS_ERR_INVALID_TOPIC, ackbus_publisher_publish(bus, "a\0b", 3, "x", 1, 0, &id, &error));
    ERR(ACKBUS_ERR_INVALID_TOPIC, ackbus_publisher_publish(bus, "a b", 3, "x", 1, 0, &id, &error));
    ERR(ACKBUS_ERR_INVALID_TOPIC, ackbus_publisher_publish(bus, "a\r\nPUB b 0", 10, "x", 1, 0, &id, &error));
    ERR(ACKBUS_ERR_INVALID_TOPIC, ackbus_publisher_publish(bus, "a.*", 3, "x", 1, 0, &id, &error));
    ERR(ACKBUS_ERR_INVALID_UTF8, ackbus_publisher_publish(bus, BAD, 2, "x", 1, 0, &id, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish(bus, NULL, 1, "x", 1, 0, &id, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish(bus, "a", HUGE_LEN, "x", 1, 0, &id, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish(bus, "a", SIZE_MAX, "x", 1, 0, &id, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish(bus, "a", LARGE_LEN, "x", 1, 0, &id, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish(bus, "a", 1, NULL, 1, 0, &id, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish(bus, "a", 1, "x", HUGE_LEN, 0, &id, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish(bus, "a", 1, "x", SIZE_MAX, 0, &id, &error));
    ERR(ACKBUS_ERR_TOO_LARGE, ackbus_publisher_publish(bus, "a", 1, "x", LARGE_LEN, 0, &id, &error));
    ERR(ACKBUS_ERR_TOO_LARGE, ackbus_publisher_publish(bus, "a", 1, "x", (size_t)PTRDIFF_MAX, 0, &id, &error));
    IS(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish(NULL, NULL, 0, NULL, 0, 0, NULL, NULL));
    CHECK(id == 77); /* outputs are written only on success */
    ERR(ACKBUS_OK, ackbus_publisher_publish(bus, "a", 1, NULL, 0, 0, &id, &error));
    CHECK(id == 1);
}

/* A message with one thing wrong, through every function that takes one. */
static void refused(ackbus_status status, const ackbus_message *message)
{
    uint64_t id = 77;
    size_t accepted = 77;
    ackbus_reports *reports = (ackbus_reports *)(uintptr_t)0x10;
    ERR(status, ackbus_publisher_publish_msg(bus, message, &id, &error));
    ERR(status, ackbus_publisher_publish_batch(bus, message, 1, &id, &accepted, &error));
    CHECK(id == 77 && accepted == 0);
    ERR(status, ackbus_publisher_publish_wait(bus, message, -1, &reports, &error));
    CHECK(reports == NULL);
    IS(status, ackbus_publisher_publish_msg(bus, message, NULL, NULL));
}

#define REFUSED(status, ...)                                                                                                                         \
    do {                                                                                                                                             \
        ackbus_message message = message_of("orders.created", "{}");                                                                                 \
        __VA_ARGS__;                                                                                                                                 \
        refused(status, &message);                                                                                                                   \
    } while (0)

static const ackbus_str bad_str = {BAD, 2}, no_str = {NULL, 1}, huge_str = {"a", HUGE_LEN}, large_str = {"a", LARGE_LEN};

static void bad_header(ackbus_status status, ackbus_str name, ackbus_str value)
{
    const ackbus_header headers[] = {{ackbus_str_of("Good"), ackbus_str_of("yes")}, {name, value}};
    REFUSED(status, message.headers = headers; message.header_count = 2);
}

static void messages(void)
{
    refused(ACKBUS_ERR_INVALID_ARGUMENT, NULL);
    const size_t wrong_sizes[] = {0, 1, 8, 32, sizeof(ackbus_message) - 1, sizeof(ackbus_message) + 1, 1 << 20, SIZE_MAX, SIZE_MAX - 7};
    for (size_t i = 0; i < sizeof wrong_sizes / sizeof wrong_sizes[0]; i++)
        REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.struct_size = wrong_sizes[i]);
    REFUSED(ACKBUS_ERR_INVALID_TOPIC, message.topic = ackbus_str_of(NULL));
    REFUSED(ACKBUS_ERR_INVALID_UTF8, message.topic = bad_str);
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.topic = no_str);
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.topic = huge_str);
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.topic = large_str);
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.payload = NULL);
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.payload_len = HUGE_LEN);
    REFUSED(ACKBUS_ERR_TOO_LARGE, message.payload_len = LARGE_LEN);
    REFUSED(ACKBUS_ERR_INVALID_UTF8, message.msg_id = bad_str);
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.msg_id = no_str);
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.msg_id = huge_str);
    REFUSED(ACKBUS_ERR_INVALID_UTF8, message.expected_stream = bad_str);
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.expected_stream = large_str);
    REFUSED(ACKBUS_ERR_INVALID_UTF8, message.expected_last_msg_id = bad_str);
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.expected_last_msg_id = no_str);
    REFUSED(ACKBUS_ERR_INVALID_UTF8, message.traceparent = bad_str);
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.traceparent = no_str);
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.traceparent = ackbus_str_of("no trace"));
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.tracestate = ackbus_str_of("alone=1"));
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.ttl_ms = -1);
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.ttl_ms = INT64_MAX);
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.delivery_timeout_ms = INT64_MIN);
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.delivery_timeout_ms = INT64_MAX);
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.flags = 1u << 31);
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.flags = UINT32_MAX);

    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.header_count = 1);
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.header_count = SIZE_MAX);
    const ackbus_header header = {ackbus_str_of("Good"), ackbus_str_of("yes")};
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.headers = &header; message.header_count = HUGE_LEN);
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.headers = &header; message.header_count = LARGE_LEN);
    REFUSED(ACKBUS_ERR_INVALID_ARGUMENT, message.headers = (const ackbus_header *)(const void *)((const char *)&header + 1); message.header_count = 1);
    bad_header(ACKBUS_ERR_INVALID_UTF8, bad_str, ackbus_str_of("x"));
    bad_header(ACKBUS_ERR_INVALID_UTF8, ackbus_str_of("X"), bad_str);
    bad_header(ACKBUS_ERR_INVALID_ARGUMENT, no_str, ackbus_str_of("x"));
    bad_header(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_str_of("X"), huge_str);
    bad_header(ACKBUS_ERR_INVALID_HEADER, ackbus_str_of(""), ackbus_str_of("x"));
    bad_header(ACKBUS_ERR_INVALID_HEADER, ackbus_str_of("X:Y"), ackbus_str_of("x"));
    bad_header(ACKBUS_ERR_INVALID_HEADER, ackbus_str_of("X"), ackbus_str_of("x\r\nPUB a 0"));
    bad_header(ACKBUS_ERR_INVALID_HEADER, ackbus_str_of("X"), (ackbus_str){"a\0b", 3});

    ackbus_message message = message_of("orders.created", "{}");
    size_t accepted = 77;
    const size_t wrong_counts[] = {SIZE_MAX, HUGE_LEN, SIZE_MAX / sizeof message, SIZE_MAX / sizeof message + 1};
    for (size_t i = 0; i < sizeof wrong_counts / sizeof wrong_counts[0]; i++)
        ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish_batch(bus, &message, wrong_counts[i], NULL, &accepted, &error));
    CHECK(accepted == 0);
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish_msg(NULL, &message, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish_batch(NULL, NULL, 0, NULL, &accepted, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish_batch(NOT_A(ackbus_publisher), &message, 1, NULL, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish_wait(NULL, &message, 0, NULL, &error));
    const ackbus_packed packed = {.topic = {0, 1}};
    accepted = 77;
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish_packed(NULL, NULL, 0, 0, NULL, 0, NULL, &accepted, &error));
    CHECK(accepted == 0);
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish_packed(NOT_A(ackbus_publisher), &packed, 1, sizeof packed, BYTES, 1, NULL, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish_packed(bus, NULL, 1, sizeof packed, BYTES, 1, NULL, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish_packed(bus, &packed, 1, sizeof packed, NULL, 1, NULL, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish_packed(bus, &packed, 1, sizeof packed, BYTES, SIZE_MAX, NULL, NULL, &error));
    for (size_t i = 0; i < sizeof wrong_counts / sizeof wrong_counts[0]; i++)
        ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish_packed(bus, &packed, wrong_counts[i], sizeof packed, BYTES, 1, NULL, NULL, &error));
    const size_t wrong_strides[] = {0, 1, 8, sizeof packed - 1, sizeof packed + 1, 1 << 20, SIZE_MAX, SIZE_MAX - 7};
    for (size_t i = 0; i < sizeof wrong_strides / sizeof wrong_strides[0]; i++)
        ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_publish_packed(bus, &packed, 1, wrong_strides[i], BYTES, 1, NULL, NULL, &error));
    ackbus_message odd[2] = {message, message}; /* a struct at an odd address is no harm: it is copied */
    memmove((char *)odd + 1, odd, sizeof message);
    ERR(ACKBUS_OK, ackbus_publisher_publish_msg(bus, (const ackbus_message *)(const void *)((const char *)odd + 1), NULL, &error));
}

static void polling(void)
{
    ackbus_reports *reports = NULL;
    ackbus_events *events = NULL;
    size_t len = 7, stride = 7;
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_poll(NULL, 1, 0, &reports, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_poll(polled, 1, 0, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_poll(polled, 0, 0, &reports, &error));
    ERR(ACKBUS_ERR_INVALID_STATE, ackbus_publisher_poll(bus, 1, 0, &reports, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_poll_events(NULL, 1, 0, &events, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_poll_events(polled, 1, 0, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_poll_events(polled, 0, 0, &events, &error));
    ERR(ACKBUS_ERR_INVALID_STATE, ackbus_publisher_poll_events(bus, 1, 0, &events, &error));
    CHECK(reports == NULL && events == NULL);
    ERR(ACKBUS_OK, ackbus_publisher_poll(polled, SIZE_MAX, 0, &reports, &error));
    ackbus_reports_free(reports);
    ERR(ACKBUS_OK, ackbus_publisher_poll_events(polled, SIZE_MAX, 0, &events, &error));
    ackbus_events_free(events);

    CHECK(ackbus_reports_data(NULL, &len, &stride) == NULL && len == 0 && stride == 0);
    CHECK(ackbus_reports_data(NOT_A(ackbus_reports), NULL, NULL) == NULL && !ackbus_reports_has_room(NULL));
    CHECK(ackbus_events_data(NULL, &len, &stride) == NULL && ackbus_events_data(NOT_A(ackbus_events), NULL, NULL) == NULL);
    ackbus_reports_free(NULL);
    ackbus_reports_free(NOT_A(ackbus_reports));
    ackbus_events_free(NULL);
    ackbus_events_free(NOT_A(ackbus_events));
    CHECK(ackbus_publisher_wake_fd(NULL) == -1 && ackbus_publisher_wake_fd(NOT_A(ackbus_publisher)) == -1 && ackbus_publisher_wake_fd(bus) == -1);
}

static void managing(void)
{
    ackbus_stats stats = ACKBUS_STATS_INIT;
    ackbus_info info = ACKBUS_INFO_INIT;
    uint64_t count = 77;
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_wait_connected(NULL, 0, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_flush(NULL, 0, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_close(NULL, 0, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_close(NOT_A(ackbus_publisher), 0, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_set_topic(NULL, "a", "mode", "ephemeral", &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_set_topic(bus, NULL, NULL, NULL, &error));
    ERR(ACKBUS_ERR_INVALID_UTF8, ackbus_publisher_set_topic(bus, "a", "mode", BAD, &error));
    ERR(ACKBUS_ERR_INVALID_OPTION, ackbus_publisher_set_topic(bus, "a", "mode", "no such mode", &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_purge(NULL, ACKBUS_PURGE_UNSENT, &count, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_purge(bus, 0, &count, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_purge(bus, 4, &count, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_purge(bus, UINT32_MAX, &count, &error));
    CHECK(count == 77 && ackbus_publisher_pending(NULL) == 0 && ackbus_publisher_pending_bytes(NULL) == 0);

    size_t len = 77;
    const ackbus_publisher *const some[] = {bus, NOT_A(ackbus_publisher)}, *const none[] = {NULL};
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_metrics(NULL, NULL, 0, &len, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_metrics(NOT_A(ackbus_publisher), NULL, 0, &len, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_metrics(some, 2, NULL, 0, &len, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_metrics(none, 1, NULL, 0, &len, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_metrics(NULL, 1, NULL, 0, &len, &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_metrics(some, SIZE_MAX, NULL, 0, &len, &error));
    CHECK(len == 77);

    IS(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_stats(NULL, &stats));
    IS(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_stats(bus, NULL));
    IS(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_info(NULL, &info));
    IS(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_info(bus, NULL));
    const size_t wrong_sizes[] = {0, 8, 15, 1 << 20, SIZE_MAX};
    for (size_t i = 0; i < sizeof wrong_sizes / sizeof wrong_sizes[0]; i++) {
        stats.struct_size = info.struct_size = wrong_sizes[i];
        IS(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_stats(bus, &stats));
        IS(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_publisher_info(bus, &info));
    }
    CHECK(stats.accepted == 0 && info.max_payload == 0);
}

/* Times at the ends of their range do not overflow. */
static void extreme_times(void)
{
    const int64_t times[] = {INT64_MIN, INT64_MAX};
    ackbus_message message = message_of("orders.created", "{}");
    message.flags = ACKBUS_MSG_STALL_WAIT;
    for (size_t i = 0; i < 2; i++) {
        message.stall_wait_ms = times[i];
        ERR(ACKBUS_OK, ackbus_publisher_publish_wait(bus, &message, times[i], NULL, &error));
        ERR(ACKBUS_OK, ackbus_publisher_flush(bus, times[i], &error));
        ERR(ACKBUS_OK, ackbus_publisher_wait_connected(bus, times[i], &error));
    }
}

static void after_close(ackbus_publisher *closed, int64_t timeout_ms)
{
    ackbus_message message = message_of("orders.created", "{}");
    ackbus_reports *reports = NULL;
    ackbus_events *events = NULL;
    ackbus_stats stats = ACKBUS_STATS_INIT;
    ackbus_info info = ACKBUS_INFO_INIT;
    size_t accepted = 77;
    ERR(ACKBUS_OK, ackbus_publisher_flush(closed, -1, &error));
    ERR(ACKBUS_OK, ackbus_publisher_flush(closed, -1, &error));
    ERR(ACKBUS_OK, ackbus_publisher_close(closed, timeout_ms, &error));
    ERR(ACKBUS_OK, ackbus_publisher_close(closed, timeout_ms, &error));
    ERR(ACKBUS_ERR_CLOSED, ackbus_publisher_publish(closed, "a", 1, "x", 1, 0, NULL, &error));
    ERR(ACKBUS_ERR_CLOSED, ackbus_publisher_publish_msg(closed, &message, NULL, &error));
    ERR(ACKBUS_ERR_CLOSED, ackbus_publisher_publish_batch(closed, &message, 1, NULL, &accepted, &error));
    CHECK(accepted == 0);
    ERR(ACKBUS_ERR_CLOSED, ackbus_publisher_publish_wait(closed, &message, -1, &reports, &error));
    ERR(ACKBUS_ERR_CLOSED, ackbus_publisher_wait_connected(closed, -1, &error));
    ERR(ACKBUS_ERR_CLOSED, ackbus_publisher_purge(closed, ACKBUS_PURGE_UNSENT, NULL, &error));
    ERR(ACKBUS_OK, ackbus_publisher_flush(closed, -1, &error));
    if (closed == polled) {
        ERR(ACKBUS_ERR_CLOSED, ackbus_publisher_poll(closed, 1, -1, &reports, &error));
        ackbus_status status = ACKBUS_OK;
        while (status == ACKBUS_OK) { /* the last events can still be fetched */
            status = ackbus_publisher_poll_events(closed, 10, 0, &events, NULL);
            ackbus_events_free(events);
            events = NULL;
        }
        IS(ACKBUS_ERR_CLOSED, status);
    }
    IS(ACKBUS_OK, ackbus_publisher_stats(closed, &stats));
    IS(ACKBUS_OK, ackbus_publisher_info(closed, &info));
    CHECK(info.state == ACKBUS_STATE_CLOSED && ackbus_publisher_pending(closed) == 0);
    CHECK(stats.accepted == stats.published + stats.publish_errors + stats.pending);
    IS(ACKBUS_OK, ackbus_publisher_free(closed));
}

static void handlers(void)
{
    CHECK(!ackbus_in_callback());
    ackbus_callback_leave(); /* nothing was entered */
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_callback_enter(NOT_A(ackbus_reports), &error));
    ERR(ACKBUS_ERR_INVALID_ARGUMENT, ackbus_callback_enter(ODD(ackbus_reports), &error));
    CHECK(!ackbus_in_callback());
    ERR(ACKBUS_OK, ackbus_callback_enter(NULL, &error));
    IS(ACKBUS_ERR_INVALID_STATE, ackbus_callback_enter(NULL, NULL));
    ackbus_callback_leave();
    ackbus_callback_leave();
    CHECK(!ackbus_in_callback());
}

int main(void)
{
    config = memory_config(NULL);
    polled = connect_and_free(memory_config(NULL));
    ackbus_config *with_callbacks = memory_config(NULL);
    IS(ACKBUS_OK, ackbus_config_on_reports(with_callbacks, on_reports, NULL, NULL, NULL));
    IS(ACKBUS_OK, ackbus_config_on_event(with_callbacks, on_event, NULL, NULL, NULL));
    bus = connect_and_free(with_callbacks);

    pure_functions();
    errors();
    configs();
    connecting();
    publishing();
    messages();
    polling();
    handlers();
    managing();
    extreme_times();
    after_close(bus, INT64_MAX);
    after_close(polled, INT64_MIN);
    ackbus_config_free(config);
    return 0;
}
