package ackbus

/*
#include "ackbus.h"

extern void ackbusGoLog(void *user_data, int32_t level, ackbus_str target, ackbus_str text);

static inline ackbus_status ackbus_go_log_set(int32_t level, bool on, ackbus_error **error)
{
	return ackbus_log_set(level, on ? ackbusGoLog : NULL, NULL, NULL, error);
}
*/
import "C"

import (
	"context"
	"log/slog"
	"sync/atomic"
	"unsafe"
)

var logTo atomic.Pointer[slog.Logger]

// The levels of slog that stand for the library's. slog has no word for trace.
var logLevels = [...]slog.Level{
	C.ACKBUS_LOG_ERROR: slog.LevelError,
	C.ACKBUS_LOG_WARN:  slog.LevelWarn,
	C.ACKBUS_LOG_INFO:  slog.LevelInfo,
	C.ACKBUS_LOG_DEBUG: slog.LevelDebug,
	C.ACKBUS_LOG_TRACE: slog.LevelDebug - 4,
}

// SetLogger says where the log of the library goes, for all publishers of this process: down to the level that the logger is enabled for at this time, and that each
// publisher allows ([WithLogLevel]). nil ends it. Without it the library logs nothing.
//
// The lines come on a thread of the library's, through a queue: a logger that is slow loses lines, and is told how many, but holds up no message. From inside the
// logger publishes never wait, and calls that wait return [ErrWrongThread].
func SetLogger(logger *slog.Logger) error {
	if logger == nil {
		var err *C.ackbus_error
		C.ackbus_go_log_set(C.ACKBUS_LOG_OFF, false, &err)
		return takeError(err)
	}
	most := C.int32_t(C.ACKBUS_LOG_OFF)
	for level := C.int32_t(C.ACKBUS_LOG_ERROR); level <= C.ACKBUS_LOG_TRACE; level++ {
		if logger.Enabled(context.Background(), logLevels[level]) {
			most = level
		}
	}
	logTo.Store(logger)
	var err *C.ackbus_error
	C.ackbus_go_log_set(most, true, &err)
	return takeError(err)
}

//export ackbusGoLog
func ackbusGoLog(_ unsafe.Pointer, level C.int32_t, target, text C.ackbus_str) {
	logger := logTo.Load()
	if logger == nil || level < C.ACKBUS_LOG_ERROR || level > C.ACKBUS_LOG_TRACE {
		return
	}
	// A panic must not cross into C (T13).
	defer func() { _ = recover() }()
	logger.Log(context.Background(), logLevels[level], copyText(text), "target", copyText(target))
}
