"""What a tool of an MCP server gave, as a model reads it."""

from __future__ import annotations

import json

from mcp_types import (
    AudioContent,
    CallToolResult,
    ContentBlock,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from domain.mcp import ServerResult
from domain.messages import mend_text


def result_of(result: CallToolResult) -> ServerResult:
    """Its texts, one below the other; the structured result as JSON where there is no text; a word for what is neither."""
    parts = [_shown(block) for block in result.content]
    if result.structured_content is not None and not any(isinstance(block, TextContent) for block in result.content):
        parts.append(json.dumps(result.structured_content, ensure_ascii=False))
    return ServerResult(mend_text("\n".join(parts)), failed=result.is_error)


def _shown(block: ContentBlock) -> str:
    if isinstance(block, TextContent):
        return block.text
    if isinstance(block, ImageContent | AudioContent):
        return _unseen(block.mime_type, block.data)
    if isinstance(block, ResourceLink):
        return f"[{block.name}: {block.uri}]"
    resource = block.resource
    if isinstance(resource, TextResourceContents):
        return f"[{resource.uri}]\n{resource.text}"
    return f"[{resource.uri}] {_unseen(resource.mime_type or 'a file', resource.blob)}"


def _unseen(what: str, data: str) -> str:
    return f"[{what}, {len(data) * 3 // 4} bytes, which you cannot see]"
