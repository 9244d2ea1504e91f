"""What ``celery -A`` is pointed at."""

from __future__ import annotations

import os

from tests.tenantjobs_celery.shop import Shop

shop = Shop(os.environ["SHOP_NAME"], os.environ["SHOP_BROKER"], os.environ["SHOP_RESULTS"], os.environ["SHOP_POOL"])
shop.app.set_current()
shop.app.set_default()
app = shop.app
