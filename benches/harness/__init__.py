"""The benchmark of ackbus: what ``make bench`` runs. ``python -m harness --help`` says how to run a part of it."""
