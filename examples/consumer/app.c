/* app [URL]: publishes one message, to a server or in memory, and says what became of it. */
#include <ackbus.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    ackbus_error *error = NULL;
    ackbus_publisher *bus = NULL;
    ackbus_message message = ACKBUS_MESSAGE_INIT;
    message.topic = ackbus_str_of("consumer.created");
    ackbus_config *config = ackbus_config_new();
    ackbus_status status = ackbus_config_set(config, "servers", argc > 1 ? argv[1] : "memory:", &error);
    if (status == ACKBUS_OK)
        status = ackbus_config_set_topic(config, "consumer.>", "stream", "CONSUMER", &error);
    if (status == ACKBUS_OK)
        status = ackbus_config_set_topic(config, "consumer.>", "create", "if_missing", &error);
    if (status == ACKBUS_OK)
        status = ackbus_publisher_connect(config, &bus, &error);
    if (status == ACKBUS_OK)
        status = ackbus_publisher_publish_wait(bus, &message, 10000, NULL, &error);
    printf("C, ackbus %s: %s\n", ackbus_version_string(), status == ACKBUS_OK ? "persisted" : ackbus_error_message(error).data);
    ackbus_error_free(error);
    ackbus_publisher_free(bus);
    ackbus_config_free(config);
    return status == ACKBUS_OK ? 0 : 1;
}
