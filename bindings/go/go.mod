module ackbus

go 1.24
