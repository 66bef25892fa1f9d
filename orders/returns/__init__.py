"""What customers send back.

`requests.py` and `decisions.py` are what people do about a return, `steps.py` and `settling.py` what its saga does,
`rules.py` what the owner can replace.
"""
