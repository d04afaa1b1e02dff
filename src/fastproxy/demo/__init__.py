"""The demo: the product's main job on loopback, with an eavesdropper between the proxies.

`stage` starts what plays, by the texts in `configs`: the `sample_services`, an in proxy and an impostor of
it, three out proxies, and the `eavesdropper`. What happens there are scenes, one function each, that note
what was seen and what went otherwise than it should (`scene`): `scenes` has their order and what policy
decides, `attacks` who tampers, replays and poses as another, `restart` what a restart does to calls,
`other_ways` the transports beside the link. `witness` is what they are made of. `show` prints.
`broken` starts a smaller pair in which something is wrong (`breakages`), for people to find out what.
The proxies are started as users start them, by the command line; of the rest of the package the demo knows
only key pairs and the error table.
"""
