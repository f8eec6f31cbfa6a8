#include "two_units.hpp"

int main()
{
    const ackbus::publisher bus = connect();
    ackbus::clear_log();
    return bus.submit("a", "").get().stream_seq == 1 ? 0 : 1;
}
