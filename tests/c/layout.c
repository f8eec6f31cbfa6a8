/* T18: the layout of version 0.1 on 64-bit machines. Structs grow at their end: a line here may be added, never changed. */
#include <ackbus.h>

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "sizeof " #type)
#define AT(type, field, offset) _Static_assert(offsetof(type, field) == (offset), #type "." #field)

SIZE(ackbus_status, 4);
SIZE(ackbus_persistence, 4);

SIZE(ackbus_str, 16);
AT(ackbus_str, data, 0);
AT(ackbus_str, len, 8);

SIZE(ackbus_header, 32);
AT(ackbus_header, name, 0);
AT(ackbus_header, value, 16);

SIZE(ackbus_message, 192);
AT(ackbus_message, struct_size, 0);
AT(ackbus_message, topic, 8);
AT(ackbus_message, payload, 24);
AT(ackbus_message, payload_len, 32);
AT(ackbus_message, headers, 40);
AT(ackbus_message, header_count, 48);
AT(ackbus_message, msg_id, 56);
AT(ackbus_message, expected_stream, 72);
AT(ackbus_message, expected_last_msg_id, 88);
AT(ackbus_message, expected_last_seq, 104);
AT(ackbus_message, expected_last_subject_seq, 112);
AT(ackbus_message, ttl_ms, 120);
AT(ackbus_message, stall_wait_ms, 128);
AT(ackbus_message, delivery_timeout_ms, 136);
AT(ackbus_message, tag, 144);
AT(ackbus_message, flags, 152);
AT(ackbus_message, traceparent, 160);
AT(ackbus_message, tracestate, 176);

SIZE(ackbus_span, 8);
AT(ackbus_span, start, 0);
AT(ackbus_span, len, 4);

SIZE(ackbus_packed, 120);
AT(ackbus_packed, tag, 0);
AT(ackbus_packed, topic, 8);
AT(ackbus_packed, payload, 16);
AT(ackbus_packed, flags, 24);
AT(ackbus_packed, header_count, 28);
AT(ackbus_packed, headers, 32);
AT(ackbus_packed, msg_id, 40);
AT(ackbus_packed, expected_stream, 48);
AT(ackbus_packed, expected_last_msg_id, 56);
AT(ackbus_packed, expected_last_seq, 64);
AT(ackbus_packed, expected_last_subject_seq, 72);
AT(ackbus_packed, ttl_ms, 80);
AT(ackbus_packed, stall_wait_ms, 88);
AT(ackbus_packed, delivery_timeout_ms, 96);
AT(ackbus_packed, traceparent, 104);
AT(ackbus_packed, tracestate, 112);

SIZE(ackbus_report, 136);
AT(ackbus_report, tag, 0);
AT(ackbus_report, id, 8);
AT(ackbus_report, stream_seq, 16);
AT(ackbus_report, latency_ns, 24);
AT(ackbus_report, status, 32);
AT(ackbus_report, persistence, 36);
AT(ackbus_report, flags, 40);
AT(ackbus_report, server_code, 44);
AT(ackbus_report, attempts, 48);
AT(ackbus_report, reserved, 52);
AT(ackbus_report, topic, 56);
AT(ackbus_report, payload, 72);
AT(ackbus_report, payload_len, 80);
AT(ackbus_report, msg_id, 88);
AT(ackbus_report, stream, 104);
AT(ackbus_report, text, 120);

SIZE(ackbus_event, 80);
AT(ackbus_event, struct_size, 0);
AT(ackbus_event, kind, 8);
AT(ackbus_event, status, 12);
AT(ackbus_event, time_unix_ns, 16);
AT(ackbus_event, value, 24);
AT(ackbus_event, server, 32);
AT(ackbus_event, topic, 48);
AT(ackbus_event, text, 64);

SIZE(ackbus_info, 864);
AT(ackbus_info, struct_size, 0);
AT(ackbus_info, state, 8);
AT(ackbus_info, last_error, 12);
AT(ackbus_info, max_payload, 16);
AT(ackbus_info, last_error_server_code, 24);
AT(ackbus_info, reserved, 28);
AT(ackbus_info, server, 32);
AT(ackbus_info, server_version, 288);
AT(ackbus_info, last_error_text, 352);

SIZE(ackbus_stats, 208);
AT(ackbus_stats, struct_size, 0);
AT(ackbus_stats, accepted, 8);
AT(ackbus_stats, pending, 16);
AT(ackbus_stats, pending_bytes, 24);
AT(ackbus_stats, events_dropped, 32);
AT(ackbus_stats, published, 40);
AT(ackbus_stats, publish_errors, 48);
AT(ackbus_stats, pending_max, 56);
AT(ackbus_stats, ack_timeouts, 64);
AT(ackbus_stats, duplicates, 72);
AT(ackbus_stats, attempts, 80);
AT(ackbus_stats, retries, 88);
AT(ackbus_stats, resent, 96);
AT(ackbus_stats, late_acks, 104);
AT(ackbus_stats, alien_replies, 112);
AT(ackbus_stats, queue_full, 120);
AT(ackbus_stats, gates_held, 128);
AT(ackbus_stats, ephemeral, 136);
AT(ackbus_stats, ephemeral_dropped, 144);
AT(ackbus_stats, reports_delivered, 152);
AT(ackbus_stats, reconnects, 160);
AT(ackbus_stats, bytes_out, 168);
AT(ackbus_stats, wakeups, 176);
AT(ackbus_stats, latency_p50_ns, 184);
AT(ackbus_stats, latency_p99_ns, 192);
AT(ackbus_stats, latency_max_ns, 200);

int main(void)
{
    return ackbus_check_abi() == ACKBUS_OK ? 0 : 1;
}
