"""What a LangChain user writes; knows nothing of Penstock but its address in the environment."""

import json
import sys

from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

CHAT, EMBEDDING = sys.argv[1:3]

chat = ChatOpenAI(model=CHAT, max_tokens=24, temperature=0)
question = [SystemMessage("Answer briefly."), HumanMessage("What is the capital of France?")]
whole = chat.invoke(question)
streamed = [piece.text for piece in chat.stream(question)]
over_responses = ChatOpenAI(model=CHAT, max_tokens=24, use_responses_api=True).invoke(question)
# Without this switch LangChain sends token ids of OpenAI's own vocabulary.
vectors = OpenAIEmbeddings(model=EMBEDDING, check_embedding_ctx_length=False).embed_documents(
    ["a cat", "a kitten", "the stock exchange"]
)
print(
    json.dumps(
        {
            "whole": whole.content,
            "usage": whole.usage_metadata,
            "streamed": "".join(streamed),
            "pieces": len(streamed),
            "over_responses": over_responses.text,
            "vectors": vectors,
        }
    )
)
