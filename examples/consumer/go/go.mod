module consumer

go 1.24

require ackbus v0.0.0

// Where the sources of the package are.
replace ackbus => ../../../bindings/go
