"""Real Redis servers, as users' tests start them."""

from cascada.testing.redis_server import RedisServer, binary, free_port

__all__ = ["RedisServer", "binary", "free_port"]
