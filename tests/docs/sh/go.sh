make build
cd examples/go
go run ./quickstart nats://127.0.0.1:4222
