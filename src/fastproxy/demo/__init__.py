"""The demo: the product's main job on loopback, with an eavesdropper between the proxies.

`stage` starts what plays: two `sample_services`, an in proxy, three out proxies, and the `eavesdropper`.
`scenes` are what happens there, one function each; a `scene` notes what was seen and what went otherwise than
it should. `show` prints.
The proxies are started as users start them, by the command line; of the rest of the package the demo knows
only key pairs and the error table.
"""
