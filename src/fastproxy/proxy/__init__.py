"""The two proxies: what happens to a request, in order.

`out_proxy` and `in_proxy` read top to bottom; `forward` is the attempt loop that both use. `transport` says
what a way to the next hop can do: `over_http`, `over_compat` and `to_service` are ways. `way_in` says what a
way into the in proxy can do: `http_receiver` and `compat_receiver` are ways. Errors become answers in
`answer`, and are noted in `refusals`.
"""
