"""Calls between services. Services use `connect`; tests also use `substituting`.

rpc      picks the implementation: in this process, or over HTTP     client   the calling side over HTTP
server   the answering side                                          breaker  the circuit breaker
wire     address, encoding and signature, for both sides             headers  request id and trace, passed on
"""

from shop.calls.rpc import CalledInTransaction, connect, substituting

__all__ = ["CalledInTransaction", "connect", "substituting"]
