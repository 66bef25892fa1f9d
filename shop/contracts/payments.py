"""What others may know of payments: the gateways a customer can choose."""

GATEWAYS: tuple[str, ...] = ("TOSS_PAYMENTS", "KAKAO_PAY", "NAVER_PAY")
