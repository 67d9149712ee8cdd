"""The page. ``router`` holds its routes."""

from fastapi import APIRouter

router = APIRouter()
