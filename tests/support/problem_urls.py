from django.urls import path


def bug(request):
    password = "hunter2"
    raise ZeroDivisionError(password)


urlpatterns = [path("api/bug", bug)]
