package ackbus

import "strings"

// TraceCarrier lets a propagator of OpenTelemetry read and write a message's trace context. It has the methods of its propagation.TextMapCarrier, so no
// dependency is needed here:
//
//	otel.GetTextMapPropagator().Inject(ctx, message.TraceCarrier())
//
// Names are compared without regard to case: traceparent and tracestate are the message's fields, all others its headers.
type TraceCarrier struct {
	message *Message
}

// TraceCarrier gives the carrier of this message, which must not be copied while a propagator uses it.
func (m *Message) TraceCarrier() TraceCarrier { return TraceCarrier{m} }

func (c TraceCarrier) field(name string) *string {
	switch {
	case strings.EqualFold(name, "traceparent"):
		return &c.message.TraceParent
	case strings.EqualFold(name, "tracestate"):
		return &c.message.TraceState
	}
	return nil
}

// Get returns the value of the first header of this name, or "".
func (c TraceCarrier) Get(name string) string {
	if field := c.field(name); field != nil {
		return *field
	}
	for _, header := range c.message.Headers {
		if strings.EqualFold(header.Name, name) {
			return header.Value
		}
	}
	return ""
}

// Set gives the message this header, in place of all that have the name. The headers that the caller's slice showed stay as they were.
func (c TraceCarrier) Set(name, value string) {
	others := make([]Header, 0, len(c.message.Headers)+1)
	for _, header := range c.message.Headers {
		if !strings.EqualFold(header.Name, name) {
			others = append(others, header)
		}
	}
	if field := c.field(name); field != nil {
		*field = value
	} else {
		others = append(others, Header{name, value})
	}
	c.message.Headers = others
}

// Keys returns the names of all headers that have a value.
func (c TraceCarrier) Keys() []string {
	var keys []string
	if c.message.TraceParent != "" {
		keys = append(keys, "traceparent")
	}
	if c.message.TraceState != "" {
		keys = append(keys, "tracestate")
	}
	for _, header := range c.message.Headers {
		keys = append(keys, header.Name)
	}
	return keys
}
