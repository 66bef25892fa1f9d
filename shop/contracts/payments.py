"""The payment gateways that a customer can choose from."""

GATEWAYS: tuple[str, ...] = ("TOSS_PAYMENTS", "KAKAO_PAY", "NAVER_PAY")
