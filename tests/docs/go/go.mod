module ackbus-docs

go 1.24

require ackbus v0.0.0

replace ackbus => ../../../bindings/go
