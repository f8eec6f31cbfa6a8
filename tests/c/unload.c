/* dlclose (T9): the library stays, before anything was used as well as while a publisher is open, whose threads go on.
 *
 *   unload LIBRARY */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <dlfcn.h>
#include <pthread.h>
#include <time.h>

/* The functions come from dlsym, whose void pointer C cannot convert to a function pointer. */
#define LOAD(library, function)                                                                                                                      \
    do {                                                                                                                                             \
        void *symbol = dlsym(library, #function);                                                                                                    \
        CHECK(symbol != NULL);                                                                                                                       \
        memcpy(&p_##function, &symbol, sizeof symbol);                                                                                               \
    } while (0)

static __typeof__(&ackbus_version) p_ackbus_version;
static __typeof__(&ackbus_config_new) p_ackbus_config_new;
static __typeof__(&ackbus_config_set) p_ackbus_config_set;
static __typeof__(&ackbus_publisher_connect) p_ackbus_publisher_connect;
static __typeof__(&ackbus_publisher_publish) p_ackbus_publisher_publish;
static __typeof__(&ackbus_publisher_flush) p_ackbus_publisher_flush;

static ackbus_publisher *bus;

/* Publishing leaves thread-local values of the library's behind; their destructors run when this thread ends. */
static void *publish_some(void *unused)
{
    for (int i = 0; i < 1000; i++)
        CHECK(p_ackbus_publisher_publish(bus, "orders.created", 14, "{}", 2, 0, NULL, NULL) == ACKBUS_OK);
    const struct timespec a_while = {0, 200 * 1000000L};
    nanosleep(&a_while, NULL);
    return unused;
}

static bool is_loaded(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    return library != NULL && dlclose(library) == 0;
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    CHECK(library != NULL);
    LOAD(library, ackbus_version);
    CHECK(dlclose(library) == 0);
    CHECK(is_loaded(argv[1]) && p_ackbus_version() == ACKBUS_VERSION);

    library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    LOAD(library, ackbus_config_new);
    LOAD(library, ackbus_config_set);
    LOAD(library, ackbus_publisher_connect);
    LOAD(library, ackbus_publisher_publish);
    LOAD(library, ackbus_publisher_flush);
    ackbus_config *config = p_ackbus_config_new();
    CHECK(p_ackbus_config_set(config, "servers", "memory:", NULL) == ACKBUS_OK);
    CHECK(p_ackbus_publisher_connect(config, &bus, NULL) == ACKBUS_OK);

    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, publish_some, NULL) == 0);
    CHECK(dlclose(library) == 0);
    CHECK(is_loaded(argv[1]));
    pthread_join(thread, NULL);
    CHECK(p_ackbus_publisher_flush(bus, -1, NULL) == ACKBUS_OK);
    return 0;
}
