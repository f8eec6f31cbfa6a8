"""The exceptions. Each is an :class:`Error`, and also the built-in exception that says the same, where there is one."""

from __future__ import annotations

from typing import Any

from ._enums import PERSISTENCES, STATUSES, Persistence, Status


class Error(Exception):
    """What ackbus raises, and what the futures and reports of failed messages hold."""

    status: Status
    """What went wrong; the same in every language."""
    persistence: Persistence | None
    """For the outcome of a message: what is known about its copy in the stream. None for a call that failed before a message was accepted."""
    server_code: int
    """JetStream's ``err_code``, or the status of a reply without a body (503); 0 when there was none."""
    retriable: bool
    """For a call: the same call may succeed later. For a message: sending it again cannot make a second copy."""
    fatal: bool
    """No later call on this publisher can succeed."""
    message: str
    """The text without the status and without advice."""
    accepted_ids: list[int]
    """For ``publish_many``: the ids of the messages that were accepted before this failed."""

    def __init__(
        self,
        message: str = "",
        *,
        status: Status = Status.INTERNAL,
        persistence: Persistence | None = None,
        server_code: int = 0,
        retriable: bool = False,
        fatal: bool = False,
    ) -> None:
        advice = _ADVICE.get(status)
        super().__init__(f"{status.name}: {message}" + (f" ({advice})" if advice else ""))
        self.message = message
        self.status = status
        self.persistence = persistence
        self.server_code = server_code
        self.retriable = retriable
        self.fatal = fatal
        self.accepted_ids = []

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions cross process borders (multiprocessing); their default way of pickling forgets keyword arguments.
        persistence = None if self.persistence is None else int(self.persistence)
        return _make, (int(self.status), self.message, persistence, self.server_code, self.retriable, self.fatal)


class InvalidArgumentError(Error, ValueError):
    """An argument has a value that is not allowed."""


class InvalidTopicError(InvalidArgumentError):
    """The topic is empty, too long, or has wildcards, blanks, control bytes or empty tokens."""


class InvalidHeaderError(InvalidArgumentError):
    """A header's name or value is not allowed."""


class InvalidOptionError(Error, ValueError):
    """An option or a topic rule is unknown, has a value that is not allowed, or does not fit the others."""


class MessageTooLargeError(Error, ValueError):
    """The message is larger than the window, the server or the stream allows."""


class InvalidStateError(Error, RuntimeError):
    """The call does not fit the publisher's state."""


class WrongThreadError(Error, RuntimeError):
    """A waiting call was made from a handler. It would wait for itself."""


class ForkedError(Error, RuntimeError):
    """The process was forked after it had connected."""


class QueueFullError(Error, BufferError):
    """The window of pending messages is full."""


class TimedOutError(Error, TimeoutError):
    """The time that the caller gave ran out."""


class PurgedError(Error):
    """The message was removed by ``purge``."""


class CallbackBusyError(Error, TimeoutError):
    """A handler had not returned one second after the end of ``close``'s time."""


class ClosedError(Error, RuntimeError):
    """The publisher is closed, or was closed before the message's outcome was known."""


class DisconnectedError(Error, ConnectionError):
    """There is no connection, and ``on_disconnect`` is ``fail``."""


class ConnectFailedError(Error, ConnectionError):
    """No server could be reached."""


class AuthFailedError(Error, PermissionError):
    """The server refused the credentials."""


class TlsFailedError(Error, ConnectionError):
    """The TLS handshake or the check of a certificate failed."""


class AckTimeoutError(Error, TimeoutError):
    """No acknowledgement came until the message's deadline or its last attempt."""


class DeniedError(Error, PermissionError):
    """The server's permissions do not allow the topic."""


class ProtocolError(Error, ConnectionError):
    """The server sent something that is not its protocol."""


class FailedError(Error, ConnectionError):
    """The publisher gave up for good; the text tells why."""


class NoStreamError(Error, LookupError):
    """No stream takes the topic."""


class StreamFullError(Error):
    """The stream is full and refuses new messages."""


class OverloadedError(Error):
    """The server was overloaded until the message's deadline."""


class WrongExpectationError(Error):
    """An expected sequence, Msg-Id or stream did not match."""


class QuotaExceededError(Error):
    """A quota of the account or the server is used up."""


class RejectedError(Error):
    """JetStream refused the message; see ``server_code`` and the text."""


class UnavailableError(Error):
    """The stream had no leader, or the server no resources, until the message's deadline."""


class CreateFailedError(Error):
    """The stream could not be created."""


CLASSES: dict[Status, type[Error]] = {
    Status.INVALID_ARGUMENT: InvalidArgumentError,
    Status.INVALID_UTF8: InvalidArgumentError,
    Status.INVALID_TOPIC: InvalidTopicError,
    Status.INVALID_HEADER: InvalidHeaderError,
    Status.INVALID_OPTION: InvalidOptionError,
    Status.INVALID_STATE: InvalidStateError,
    Status.WRONG_THREAD: WrongThreadError,
    Status.TOO_LARGE: MessageTooLargeError,
    Status.FORKED: ForkedError,
    Status.QUEUE_FULL: QueueFullError,
    Status.TIMED_OUT: TimedOutError,
    Status.PURGED: PurgedError,
    Status.CALLBACK_BUSY: CallbackBusyError,
    Status.CLOSED: ClosedError,
    Status.DISCONNECTED: DisconnectedError,
    Status.CONNECT_FAILED: ConnectFailedError,
    Status.AUTH_FAILED: AuthFailedError,
    Status.TLS_FAILED: TlsFailedError,
    Status.ACK_TIMEOUT: AckTimeoutError,
    Status.DENIED: DeniedError,
    Status.PROTOCOL_ERROR: ProtocolError,
    Status.FAILED: FailedError,
    Status.NO_STREAM: NoStreamError,
    Status.STREAM_FULL: StreamFullError,
    Status.OVERLOADED: OverloadedError,
    Status.WRONG_EXPECTATION: WrongExpectationError,
    Status.QUOTA_EXCEEDED: QuotaExceededError,
    Status.REJECTED: RejectedError,
    Status.UNAVAILABLE: UnavailableError,
    Status.CREATE_FAILED: CreateFailedError,
}
"""Which class a status has; the others are plain :class:`Error`."""

_ADVICE: dict[Status, str] = {
    Status.WRONG_THREAD: "publish from the handler, and wait elsewhere",
    Status.TOO_LARGE: "send less at once, or raise the limit that the text names",
    Status.FORKED: "connect in the child before the parent does, or start children with spawn",
    Status.QUEUE_FULL: "wait and try again, use on_full='block', or raise max_pending",
    Status.CALLBACK_BUSY: "call close again",
    Status.CONNECT_FAILED: "check servers=, or pass retry_on_connect=True to go on trying",
    Status.AUTH_FAILED: "check user and password, token or credentials_file",
    Status.TLS_FAILED: "check tls_ca_file and tls_server_name",
    Status.ACK_TIMEOUT: "look at the server's health, or raise delivery_timeout",
    Status.DENIED: "allow the topic, and the inbox for replies, in the server's permissions",
    Status.NO_STREAM: "create a stream for the topic, or give its topic rule create='if_missing'",
    Status.STREAM_FULL: "raise the stream's limits, or pass retry_stream_full=True to wait for room",
}


def _make(status: int, message: str, persistence: int | None, server_code: int, retriable: bool, fatal: bool) -> Error:
    """The exception for a status, for the native half and for pickle."""
    member = STATUSES[status]
    return CLASSES.get(member, Error)(
        message,
        status=member,
        persistence=None if persistence is None else PERSISTENCES[persistence],
        server_code=server_code,
        retriable=retriable,
        fatal=fatal,
    )
