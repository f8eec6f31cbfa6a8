/* The header needs nothing else, may be included twice, and is C11 as well as C++17: the driver compiles this file as both, with all warnings as errors. */
#include <ackbus.h>
#include <ackbus.h>

int main(void)
{
    ackbus_message message = ACKBUS_MESSAGE_INIT;
    ackbus_stats stats = ACKBUS_STATS_INIT;
    ackbus_info info = ACKBUS_INFO_INIT;
    bool whole = message.struct_size == sizeof message && stats.struct_size == sizeof stats && info.struct_size == sizeof info;
    bool empty = message.flags == 0 && stats.latency_max_ns == 0 && info.last_error_text[0] == '\0' && ackbus_str_of(NULL).len == 0;
    return whole && empty && ackbus_check_abi() == ACKBUS_OK ? 0 : 1;
}
