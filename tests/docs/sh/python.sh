python bindings/python/examples/quickstart.py nats://127.0.0.1:4222
