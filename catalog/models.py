"""What is for sale."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower, Now, Upper

from shop import stafflog
from shop.money import LARGEST, check_currency
from shop.text import Line, Lines


class Category(models.TextChoices):
    """What kind of thing a product is; the label is its English name."""

    ELECTRONICS = "ELECTRONICS", "Electronics"
    FASHION = "FASHION", "Fashion"
    FOOD = "FOOD", "Food"
    BEAUTY = "BEAUTY", "Beauty"
    SPORTS = "SPORTS", "Sports"
    BOOK = "BOOK", "Books"
    HOME = "HOME", "Home & living"
    TOY = "TOY", "Toys"
    ETC = "ETC", "Other"


KOREAN_NAMES: dict[str, str] = {
    Category.ELECTRONICS: "전자제품",
    Category.FASHION: "패션",
    Category.FOOD: "식품",
    Category.BEAUTY: "뷰티",
    Category.SPORTS: "스포츠",
    Category.BOOK: "도서",
    Category.HOME: "홈·리빙",
    Category.TOY: "완구",
    Category.ETC: "기타",
}


DISPLAY_NAMES = {category.value: {"ko": KOREAN_NAMES[category], "en": category.label} for category in Category}


class Product(models.Model):
    """Something for sale. An inactive product is kept, because orders refer to it, but not sold."""

    name = Line(max_length=200)
    sort_name = models.GeneratedField(
        expression=Lower("name"), output_field=models.CharField(max_length=200), db_persist=True
    )
    description = Lines(max_length=2000, blank=True)
    price = models.BigIntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(LARGEST)],
        help_text="In the currency's minor unit: 3500000 is ₩3,500,000.",
    )
    currency = models.CharField(max_length=3, default="KRW", validators=[check_currency])
    category = models.CharField(max_length=16, choices=Category.choices, default=Category.ETC)
    brand = Line(max_length=100, blank=True)
    image_url = models.URLField("image URL", max_length=500, blank=True)
    active = models.BooleanField("on sale", default=True)
    version = models.PositiveIntegerField(default=1, editable=False, help_text="One more with every change.")
    form = models.UUIDField(null=True, unique=True, editable=False, help_text="One sent twice makes one product.")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(price__gt=0), name="catalog_product_price_positive"),
            models.CheckConstraint(condition=models.Q(category__in=Category.values), name="catalog_product_category"),
        ]
        indexes = [
            models.Index(fields=["category", "id"], name="catalog_product_category_idx"),
            models.Index(fields=["price", "id"], name="catalog_product_price_idx"),
            models.Index(fields=["sort_name", "id"], name="catalog_product_name_idx"),
            models.Index(fields=["created_at", "id"], name="catalog_product_created_idx"),
            models.Index(Upper("brand"), "id", name="catalog_product_brand_idx"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def category_display_name(self) -> dict[str, str]:
        """The category's name by language."""
        return DISPLAY_NAMES[self.category]


class StaffAction(stafflog.StaffAction):
    """What staff changed in catalog."""
