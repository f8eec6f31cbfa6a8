/* Publishes messages with headers and ids, singly and as a batch; the driver compares what the stream holds. The server belongs to the domain hub.
 *
 *   headers URL */
#include "check.h"

enum { MESSAGES = 4 };

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    ackbus_config *config = ackbus_config_new();
    ERR(ACKBUS_OK, ackbus_config_set(config, "servers", argv[1], &error));
    ERR(ACKBUS_OK, ackbus_config_set_topic(config, "headers.>", "stream", "HEADERS", &error));
    ERR(ACKBUS_OK, ackbus_config_set_topic(config, "headers.>", "create", "if_missing", &error));
    ackbus_publisher *bus = connect_and_free(config);

    /* Message n has n headers: N-1 .. N-n, with the message's own value. */
    static const char *const values[MESSAGES] = {"zero", "one", "two", "three"}, *const ids[MESSAGES] = {"id-0", "id-1", "id-2", "id-3"};
    ackbus_header headers[MESSAGES][MESSAGES];
    ackbus_message messages[MESSAGES];
    for (size_t n = 0; n < MESSAGES; n++) {
        static const char *const names[MESSAGES] = {"N-1", "N-2", "N-3", "N-4"};
        messages[n] = message_of("headers.batch", values[n]);
        messages[n].msg_id = ackbus_str_of(ids[n]);
        messages[n].headers = headers[n];
        messages[n].header_count = n;
        for (size_t i = 0; i < n; i++)
            headers[n][i] = (ackbus_header){ackbus_str_of(names[i]), ackbus_str_of(values[n])};
    }
    ERR(ACKBUS_OK, ackbus_publisher_publish_batch(bus, messages, MESSAGES, NULL, NULL, &error));

    messages[2].topic = ackbus_str_of("headers.single");
    messages[2].msg_id = ackbus_str_of(NULL);
    messages[2].expected_stream = ackbus_str_of("HEADERS");
    messages[2].expected_last_msg_id = ackbus_str_of("id-3");
    messages[2].expected_last_seq = MESSAGES;
    messages[2].expected_last_subject_seq = 0;
    messages[2].flags = ACKBUS_MSG_EXPECTED_LAST_SEQ | ACKBUS_MSG_EXPECTED_LAST_SUBJECT_SEQ;
    ERR(ACKBUS_OK, ackbus_publisher_flush(bus, -1, &error));
    ackbus_reports *outcome = NULL;
    ERR(ACKBUS_OK, ackbus_publisher_publish_wait(bus, &messages[2], -1, &outcome, &error));
    CHECK(is_text(only(outcome)->stream, "HEADERS") && is_text(only(outcome)->domain, "hub"));
    ackbus_reports_free(outcome);

    /* Each expectation reaches the server: one that does not hold is refused. */
    ackbus_message wrong = messages[2];
    wrong.expected_last_msg_id = ackbus_str_of("id-0");
    wrong.flags = 0;
    ERR(ACKBUS_ERR_WRONG_EXPECTATION, ackbus_publisher_publish_wait(bus, &wrong, -1, NULL, &error));
    wrong = messages[2];
    wrong.expected_last_msg_id = ackbus_str_of(NULL);
    wrong.flags = ACKBUS_MSG_EXPECTED_LAST_SEQ;
    ERR(ACKBUS_ERR_WRONG_EXPECTATION, ackbus_publisher_publish_wait(bus, &wrong, -1, NULL, &error));
    wrong.flags = ACKBUS_MSG_EXPECTED_LAST_SUBJECT_SEQ;
    ERR(ACKBUS_ERR_WRONG_EXPECTATION, ackbus_publisher_publish_wait(bus, &wrong, -1, NULL, &error));
    wrong.flags = 0;
    wrong.expected_stream = ackbus_str_of("ANOTHER");
    ERR(ACKBUS_ERR_WRONG_EXPECTATION, ackbus_publisher_publish_wait(bus, &wrong, -1, &outcome, &error));
    CHECK(is_text(only(outcome)->stream, "") && is_text(only(outcome)->domain, ""));
    ackbus_reports_free(outcome);

    ERR(ACKBUS_OK, ackbus_publisher_close(bus, -1, &error));
    IS(ACKBUS_OK, ackbus_publisher_free(bus));
    return 0;
}
