// P8: in a forked child every call throws, and nothing hangs, not even a destructor.
#include "check.hpp"

#include <sys/wait.h>
#include <typeinfo>
#include <unistd.h>

int main()
{
    auto bus = ackbus::publisher::connect(memory().on_error([](const ackbus::report &) {}));
    bus.publish_wait("a", "");
    const pid_t child = fork();
    if (child == 0) {
        alarm(60);
        using ackbus::status;
        THROWS(ackbus::call_error, status::forked, bus.publish("a", ""));
        THROWS(ackbus::call_error, status::forked, bus.submit("a", ""));
        THROWS(ackbus::call_error, status::forked, bus.stats());
        THROWS(ackbus::call_error, status::forked, bus.metrics());
        THROWS(ackbus::call_error, status::forked, bus.close());
        THROWS(ackbus::call_error, status::forked, ackbus::publisher::connect(memory()));
        bus = ackbus::publisher();
        _exit(0);
    }
    int ended = -1;
    CHECK(child > 0 && waitpid(child, &ended, 0) == child && WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
    CHECK(bus.submit("a", "").get().stream_seq == 2);
    return 0;
}
