"""Calls between services. A service needs `connect` of it; tests need `substituting`, too.

rpc      connect: the implementation in this process, or a client        client   the caller's end over HTTP
server   the end that answers                                            breaker  the circuit breaker
wire     what both ends agree on: address, encoding, signature           headers  what a request's own calls carry on
"""

from shop.calls.rpc import CalledInTransaction, connect, substituting

__all__ = ["CalledInTransaction", "connect", "substituting"]
