"""What a proxy tells of itself: metrics, logs and the access log.

Costs next to nothing while nobody looks: counters are plain ints, what is off is one attribute test.
Never holds up an exchange: what can't be written is dropped and counted. Never tells a secret.
"""
