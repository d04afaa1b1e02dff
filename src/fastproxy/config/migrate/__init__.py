"""From the Go original's config files to ours: `fastproxy migrate`.

source      an old file, parsed strictly, with the line of every value
old         what the old settings mean
plan        which proxies, callers, services and keys come of several files together
yaml        the new files' text, with comments that say where everything came from
migration   all of it, in order
"""
