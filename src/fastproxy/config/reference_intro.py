"""What the reference page says before its tables: the rules of the file, and examples that load."""

from __future__ import annotations

INTRO = """\
# Configuration

One YAML file per proxy. `role` says which one it is for; every other setting has a default unless the table
says that it is required. An unknown key is an error. Units stand in the names: `_s` seconds, `_bytes` bytes,
`_per_s` per second; other numbers are counts.

    fastproxy check out.yaml in.yaml        all mistakes at once, with line and advice
    fastproxy check --schema                the JSON Schema, for editors
    fastproxy explain in.yaml --caller web GET /cart/v1/items
    fastproxy keys new web                  web.key (private) and web.pub (public)

The YAML taken here is a strict part of YAML 1.2: no aliases, no tags, no repeated keys; only `true` and
`false` are booleans. File names are relative to the config file's folder. Nothing shows a private key.

## Ten services behind one in proxy

Callers come from a folder of public keys (`callers/web.pub`, one key per line, several while a key is
changed). `*` in the names of callers and services stands for any characters. Of all privileges that have the
method, the one with the most specific path decides; what no privilege allows is refused.

```yaml
role: in
name: shop-in
listen: {address: 0.0.0.0:8033}
private_key: {file: shop-in.key}
callers_dir: callers
defaults: {timeout_s: 3}
services:
  cart: {endpoints: [10.0.1.10:8080, 10.0.1.11:8080]}
  catalog: {endpoints: [catalog.shop.internal:8080]}
  mail: {endpoints: [mail.shop.internal:8080], timeout_s: 30}
  orders: {endpoints: [orders.shop.internal:8080]}
  payment: {endpoints: ["unix:/run/payment.sock"]}
  reports: {endpoints: [reports.shop.internal:8080], timeout_s: 60, compress: zstd}
  reviews: {endpoints: [reviews.shop.internal:8080]}
  search: {endpoints: [search.shop.internal:8080], host: search.shop.example}
  stock: {endpoints: [stock.shop.internal:8080]}
  users: {endpoints: [users.shop.internal:8080]}
privileges:
  - {callers: [web, mobile], services: ["*"], methods: [GET, HEAD]}
  - {callers: [web], services: [cart, orders], paths: [/v1/**], rate: {per_s: 500, burst: 50}}
  - {callers: ["batch-*"], services: [reports, mail], methods: [POST], paths: [/jobs/*]}
admin: {address: 127.0.0.1:9033}
```

The out proxy of one of its callers names the receiver once, in `receivers`:

```yaml
role: out
listen: {address: 127.0.0.1:8034, service_from: path}
caller: web
private_key: {file: web.key}
receivers:
  shop-in:
    public_keys: [53a7052f7f0499542bdfd44e2d1a9bf70f31b7abd05416d16764563c244ecc4c]
    endpoints: [shop-in.internal:8033]
defaults: {receiver: shop-in, timeout_s: 3}
services: {cart: {}, catalog: {}, orders: {}, search: {}, reports: {timeout_s: 60}}
admin: {address: 127.0.0.1:9034}
```

Several callers behind one out proxy, each named by a header that its requests carry, and each with a key of
its own; use it only where they trust each other:

```yaml
role: out
listen: {address: "unix:/run/fastproxy/out.sock", socket_mode: 0660, service_from: host}
callers:
  header: C_ServiceName
  names:
    batch-reports: {private_key: {file: batch-reports.key}}
    batch-mail: {private_key: {env: BATCH_MAIL_KEY}}
services:
  mail:
    receiver: {name: shop-in, public_keys: [53a7052f7f0499542bdfd44e2d1a9bf70f31b7abd05416d16764563c244ecc4c]}
    endpoints: [shop-in.internal:8033]
```

## Keys that end, and changing them

A public key may have a date, up to which it proves its name: in a config `{key: …, not_after: …}` in the
place of the key, in a file of `callers_dir` `not_after` and the date behind it, as `fastproxy keys new NAME
--days 365` writes it. Dates are in UTC, by the clock of the proxy that has them in its config. After its last
second its links are cut within a second and it looks like any unknown key from outside; the log says so from
30 days before, once a day, and `fastproxy_key_not_after_seconds` shows what is left. With a name whose keys
have all ended a proxy starts all the same, for the others; `fastproxy check` refuses it. Of certificates the
date is in the certificate.

```yaml
role: in
name: shop-in
listen: {address: 0.0.0.0:8033}
private_keys: [{file: shop-in-2.key}, {file: shop-in.key}]
callers:
  web:
    public_keys:
      - 0f2db2a3cb4cbb9b6ac0ef5ec7b7a1e9e1c1fb6a4d9c3f6d5a5f3e7d9c1b2a30
      - key: 5ab3f1e05b1c0a8f7c1a3f8b3a9b3f0e5d7c9b1a2f4e6d8c0b9a8f7e6d5c4b31
        not_after: 2030-01-31T00:00:00Z
services: {cart: {endpoints: ["127.0.0.1:8080"]}}
privileges: [{callers: [web], services: [cart]}]
```

`fastproxy keys rotate` changes a key in stages without losing a call ([keys.md](keys.md)): the new public key
beside the old one at all peers, then the new private key in the place of the old one, then the old ones away.
Files of private keys are read again as they change; beside that of a receiver, `shop-in.key`, its keys in
`shop-in.key.next` and `shop-in.key.old` count as well. Which of several keys of a receiver an endpoint has is
found out by asking, over links and over `http`.

## Certificates instead of keys

Where certificates are issued anyway, they prove both ends of a link: TLS 1.3, both sides verified, and each
peer known by the one SPIFFE URI or DNS name of its certificate that is written here. The files are read again
when they change; links of a CA that is gone, or of a certificate that has ended, are cut.

```yaml
role: in
name: shop-in
listen:
  address: 0.0.0.0:8033
  accept: [link]
  tls: {certificate: shop-in.crt, private_key: shop-in.pem, authorities: shop-in-ca.crt}
callers:
  web: {tls_id: "spiffe://shop.example/web"}
  app: {tls_id: app.shop.example}
services: {cart: {endpoints: ["127.0.0.1:8080"]}}
privileges: [{callers: [web, app], services: [cart]}]
```

```yaml
role: out
caller: web
tls: {certificate: web.crt, private_key: web.pem, authorities: web-ca.crt}
receivers:
  shop-in: {tls_id: shop-in.shop.example, endpoints: [shop-in.internal:8033]}
defaults: {transport: link, receiver: shop-in}
services: {cart: {}}
```

## Peers that still run the Go original

`fastproxy migrate` makes such configs from the original's own. `compat` speaks its wire format with its
shared keys, and protects weakly: every load says so. Here each caller has a sign key of its own, which
proves it.

```yaml
role: in
listen: {address: 0.0.0.0:8033, accept: [compat]}
compat:
  sign_keys:
    sign.web: {file: sign.web.secret}
    sign.app: {file: sign.app.secret}
  encrypt_keys:
    encrypt.shop: {file: encrypt.shop.secret}
  callers:
    web: {sign: [sign.web], encrypt: [encrypt.shop]}
    app: {sign: [sign.app], encrypt: [encrypt.shop]}
center: {url: "http://127.0.0.1:8040", token: {env: CENTER_TOKEN}, advertise: 10.1.2.4:8033}
services: {cart: {endpoints: [center]}}
privileges: [{callers: [web, app], services: [cart]}]
```

```yaml
role: out
caller: web
compat:
  sign_keys: {sign.web: {file: sign.web.secret}}
  encrypt_keys: {encrypt.shop: {file: encrypt.shop.secret}}
  callers: {web: {sign: sign.web, encrypt: encrypt.shop, compress: snappy}}
services: {cart: {transport: compat, endpoints: [shop-in.internal:8033]}}
```
"""
