"""The cache of verified tokens: bounded, and the one unused for longest goes first."""

from app.access.principal import anonymous
from app.access.token_cache import CachedToken, TokenCache, token_digest


def test_memory_is_bounded_and_what_is_used_stays() -> None:
    cache = TokenCache(max_entries=3)
    entries = {token: CachedToken(anonymous(token), None) for token in "abcd"}
    for token in "abc":
        cache.put(token_digest(token), entries[token])
    assert cache.get("a") is entries["a"]
    cache.put(token_digest("d"), entries["d"])
    assert len(cache) == 3
    assert cache.get("b") is None
    assert [cache.get(token) for token in "acd"] == [entries[token] for token in "acd"]
    cache.clear()
    assert cache.get("a") is None
