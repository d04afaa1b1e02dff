"""Who may call what, and why not."""

from collections import Counter

import pytest

from fastproxy.errors import AMBIGUOUS_PATH, MALFORMED_REQUEST, NO_PRIVILEGE, ProxyError
from fastproxy.policy.privilege import NearMiss, Privilege, compile_privileges
from fastproxy.policy.ratelimit import Rate

SEARCH = Privilege(("chat", "web"), ("search",), ("POST",), ("/api/service",), Rate(100, 20), line=9)
READ = Privilege(("chat",), ("search", "token"), ("GET", "HEAD"), ("/api/**", "/open/*"), line=10)
ANY = Privilege(("admin",), ("search",), None, ("/**",), line=11)
PRIVILEGES = compile_privileges([SEARCH, READ, ANY])


def refusal_of(caller: str, service: str, method: bytes, path: bytes) -> ProxyError:
    with pytest.raises(ProxyError) as refusal:
        PRIVILEGES.decide(caller, service, method, path)
    return refusal.value


@pytest.mark.parametrize(
    ("caller", "service", "method", "path", "privilege", "pattern"),
    [
        ("chat", "search", b"POST", b"/api/service", SEARCH, "/api/service"),
        ("web", "search", b"POST", b"/api/service", SEARCH, "/api/service"),
        ("chat", "search", b"GET", b"/api/service", READ, "/api/**"),
        ("chat", "token", b"HEAD", b"/open/door", READ, "/open/*"),
        ("admin", "search", b"BREW", b"/x", ANY, "/**"),
        ("admin", "search", b"OPTIONS", b"*", ANY, "/**"),
    ],
)
def test_a_privilege_holds(
    caller: str, service: str, method: bytes, path: bytes, privilege: Privilege, pattern: str
) -> None:
    route = PRIVILEGES.decide(caller, service, method, path)
    assert route.privilege is privilege
    assert route.pattern == pattern
    assert route.rate == privilege.rate


@pytest.mark.parametrize(
    ("caller", "service", "method", "path"),
    [
        ("song", "search", b"POST", b"/api/service"),
        ("", "search", b"POST", b"/api/service"),
        ("web", "token", b"POST", b"/api/service"),
        ("web", "search", b"GET", b"/api/service"),
        ("web", "search", b"post", b"/api/service"),
        ("web", "search", b"", b"/api/service"),
        ("web", "search", b"POST", b"/api/service/"),
        ("web", "search", b"POST", b"/API/service"),
        ("web", "search", b"POST", b""),
        ("web", "search", b"POST", b"*"),
    ],
)
def test_what_no_privilege_names_is_refused(caller: str, service: str, method: bytes, path: bytes) -> None:
    assert refusal_of(caller, service, method, path).cause is NO_PRIVILEGE


@pytest.mark.parametrize(
    ("caller", "service", "path", "numbers"),
    [
        ("nobody", "search", b"/api/service", {"privileges_lack": "the caller"}),
        ("chat", "other", b"/api/service", {"privileges_lack": "the service"}),
        ("chat", "search", b"/elsewhere", {"privileges_lack": "the path"}),
        (
            "chat", "search", b"/api/service",
            {"privileges_lack": "the method", "methods_allowed": "GET, HEAD, POST"},
        ),
    ],
)  # fmt: skip
def test_a_refusal_keeps_what_was_lacking(
    caller: str, service: str, path: bytes, numbers: dict[str, str]
) -> None:
    assert refusal_of(caller, service, b"BREW", path).numbers == numbers


def test_without_privileges_nothing_passes() -> None:
    with pytest.raises(ProxyError):
        compile_privileges([]).decide("chat", "search", b"GET", b"/")


def test_the_refusal_repeats_nothing_of_the_request() -> None:
    assert "secret" not in refusal_of("chat", "secret-a", b"SECRET", b"/secret").detail


def test_rate_keys_survive_a_reload_and_tell_routes_apart() -> None:
    again = compile_privileges([SEARCH, READ, ANY])
    calls = [
        ("chat", "search", b"POST", b"/api/service"),
        ("chat", "search", b"GET", b"/api/x"),
        ("chat", "token", b"GET", b"/api/x"),
        ("chat", "search", b"GET", b"/open/x"),
    ]
    keys = [PRIVILEGES.decide(*call).rate_key for call in calls]
    assert keys == [again.decide(*call).rate_key for call in calls]
    assert len(set(keys)) == len(calls)


def test_a_wrong_pattern_names_its_line() -> None:
    with pytest.raises(ValueError, match="line 7: path pattern '/a\\*'"):
        compile_privileges([Privilege(("a",), ("b",), None, ("/a*",), line=7)])


class TestAdmit:
    """The target as it was sent goes in, the one to forward comes out."""

    STRICT = Privilege(("web",), ("files",), None, ("/public/**",))
    LAX = Privilege(("web",), ("files",), None, ("/raw/**",), allow_ambiguous=True)
    MIXED = compile_privileges([STRICT, LAX])

    @pytest.mark.parametrize(
        ("target", "forwarded"),
        [
            (b"/public/%61?q=%61", b"/public/a?q=%61"),
            (b"/raw/a%2fb//c?x", b"/raw/a%2Fb//c?x"),
            (b"/public/%2e%2e/raw/a", b"/raw/a"),
        ],
    )
    def test_passes(self, target: bytes, forwarded: bytes) -> None:
        assert self.MIXED.admit("web", "files", b"GET", target)[1] == forwarded

    @pytest.mark.parametrize(
        ("target", "status"),
        [
            (b"/public/%2e%2e/admin", AMBIGUOUS_PATH),
            (b"/raw/%2e%2e/admin", AMBIGUOUS_PATH),
            (b"/raw/../public/a", AMBIGUOUS_PATH),
            (b"/public//a", AMBIGUOUS_PATH),
            (b"/admin", NO_PRIVILEGE),
            (b"/raw/%zz", MALFORMED_REQUEST),
        ],
    )
    def test_refuses(self, target: bytes, status: object) -> None:
        with pytest.raises(ProxyError) as refusal:
            self.MIXED.admit("web", "files", b"GET", target)
        assert refusal.value.cause is status


class TestExplain:
    def test_names_what_decides_and_what_is_outranked(self) -> None:
        general = Privilege(("chat",), ("search",), None, ("/**",), line=3)
        told = compile_privileges([general, SEARCH]).explain("chat", "search", b"POST", b"/api/service")
        assert told.route is not None
        assert told.route.privilege is SEARCH
        assert told.outranked == (general,)

    @pytest.mark.parametrize(
        ("caller", "service", "method", "path", "near_misses"),
        [
            (
                "web",
                "search",
                b"GET",
                b"/api/service",
                [(SEARCH, "method"), (READ, "caller"), (ANY, "caller")],
            ),
            ("chat", "search", b"POST", b"/api/other", [(SEARCH, "path"), (READ, "method"), (ANY, "caller")]),
            ("admin", "token", b"GET", b"/api/x", [(READ, "caller"), (ANY, "service")]),
        ],
    )
    def test_names_near_misses(
        self, caller: str, service: str, method: bytes, path: bytes, near_misses: list[tuple[Privilege, str]]
    ) -> None:
        told = PRIVILEGES.explain(caller, service, method, path)
        assert told.route is None
        assert told.outranked == ()
        assert told.near_misses == tuple(NearMiss(*near_miss) for near_miss in near_misses)


def test_a_request_looks_at_no_more_segments_with_100_000_routes() -> None:
    """Counts look-ups instead of time: bytes that count how often they are hashed."""
    hashed: Counter[str] = Counter()

    class Path(bytes):
        def __hash__(self) -> int:
            hashed["path"] += 1
            return bytes.__hash__(self)

        def __eq__(self, other: object) -> bool:
            hashed["compared"] += 1
            return bytes.__eq__(self, other)

    routes = [
        Privilege(("chat",), ("search",), ("GET",), (f"/r{n}", f"/u{n}/*"), line=n) for n in range(50_000)
    ]
    many = compile_privileges(routes)
    assert many.decide("chat", "search", b"GET", Path(b"/r49999")).privilege is routes[-1]
    assert many.decide("chat", "search", b"GET", Path(b"/u49999/x")).privilege is routes[-1]
    assert hashed["path"] == 2
    assert hashed["compared"] <= 4


def test_callers_with_the_same_privileges_share_one_table() -> None:
    everyone = tuple(f"caller{n}" for n in range(1000))
    shared = compile_privileges([Privilege(everyone, ("search",), None, ("/a", "/b"))])
    routes = {id(shared.decide(caller, "search", b"GET", b"/a")) for caller in everyone}
    assert len(routes) == 1


def test_callers_have_all_their_privileges_wherever_they_are_named() -> None:
    privileges = [
        Privilege(("a", "b", "c"), ("search",), None, ("/all",)),
        Privilege(("b", "c", "b"), ("search",), None, ("/two",)),
        Privilege(("d", "a"), ("search",), None, ("/all", "/first")),
        Privilege(("c",), ("search",), None, ("/all",)),
    ]
    compiled = compile_privileges(privileges)
    found = {
        (caller, path): privileges.index(explained.route.privilege)
        for caller in "abcde"
        for path in ("/all", "/two", "/first")
        if (explained := compiled.explain(caller, "search", b"GET", path.encode())).route is not None
        and explained.route.privilege is not None
    }
    assert found == {
        ("a", "/all"): 0, ("b", "/all"): 0, ("c", "/all"): 0, ("d", "/all"): 2,
        ("b", "/two"): 1, ("c", "/two"): 1,
        ("a", "/first"): 2, ("d", "/first"): 2,
    }  # fmt: skip


def test_many_privileges_of_many_callers_compile_without_their_product() -> None:
    everyone = tuple(f"caller{n}" for n in range(2000))
    own = [Privilege((f"caller{n}",), ("search",), None, (f"/own{n}",)) for n in range(3)]
    shared = [Privilege(everyone, ("search",), None, (f"/shared{n}",)) for n in range(50)]
    compiled = compile_privileges([*own, *shared])
    routes = {id(compiled.decide(caller, "search", b"GET", b"/shared49")) for caller in everyone}
    assert len(routes) == 4, "a table for each of those with a privilege of their own, and one for the others"
    assert compiled.decide("caller2", "search", b"GET", b"/own2").privilege is own[2]
    assert compiled.explain("caller2", "search", b"GET", b"/own1").route is None
