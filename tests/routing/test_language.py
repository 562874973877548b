"""Languages of sentences as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.routing.language import language

SENTENCES: dict[str, list[str]] = {
    "en": [
        "How do I sort a list of dictionaries by a key in Python?",
        "Please summarise the attached report for my manager.",
        "What is the capital of France?",
        "I would like to know which of these two contracts is better for us.",
    ],
    "de": [
        "Wie ist das Wetter heute in Berlin?",
        "Bitte schreibe mir eine E-Mail an den Kunden, dass die Lieferung später kommt.",
        "Ich möchte wissen, ob die Rechnung schon bezahlt wurde.",
    ],
    "fr": [
        "Quelle est la capitale de l'Allemagne ?",
        "Peux-tu résumer ce texte pour moi en trois phrases ?",
        "Je voudrais savoir comment fonctionne cette machine.",
    ],
    "es": [
        "¿Cuál es la capital de Alemania?",
        "Escribe una carta para el director de la escuela.",
        "No entiendo cómo funciona este programa, ¿puedes explicarlo?",
    ],
    "pt": [
        "Qual é a capital da Alemanha?",
        "Você pode escrever um resumo deste texto para mim?",
        "Não sei como fazer isso, preciso de ajuda com o meu projeto.",
    ],
    "it": [
        "Qual è la capitale della Germania?",
        "Scrivi una lettera per il direttore della scuola.",
        "Non capisco come funziona questo programma, mi puoi aiutare?",
    ],
    "nl": ["Wat is de hoofdstad van Duitsland?", "Kun je een samenvatting van deze tekst voor mij schrijven?", "Ik weet niet hoe ik dit moet doen."],
    "pl": ["Jaka jest stolica Niemiec?", "Proszę napisać podsumowanie tego tekstu dla mnie.", "Nie wiem, jak to działa, czy możesz mi pomóc?"],
    "tr": [
        "Almanya'nın başkenti neresidir?",
        "Bu metin için bana kısa bir özet yazar mısın?",
        "Bunu nasıl yapacağımı bilmiyorum, lütfen bana yardım et.",
    ],
    "ru": ["Какая столица Германии?", "Напишите краткое содержание этого текста для меня.", "Я не знаю, как это работает, помогите мне."],
    "uk": ["Яка столиця Німеччини?", "Напишіть короткий зміст цього тексту для мене.", "Я не знаю, як це працює, допоможіть мені."],
    "ar": ["ما هي عاصمة ألمانيا؟", "اكتب لي ملخصا لهذا النص من فضلك.", "لا أعرف كيف يعمل هذا البرنامج."],
    "fa": ["پایتخت آلمان کجاست؟", "لطفا یک خلاصه از این متن برای من بنویس.", "من نمی‌دانم این برنامه چگونه کار می‌کند."],
    "ur": ["جرمنی کا دارالحکومت کیا ہے؟", "براہ کرم میرے لیے اس متن کا خلاصہ لکھیں۔"],
    "hi": ["जर्मनी की राजधानी क्या है?", "कृपया मेरे लिए इस पाठ का सारांश लिखें।", "मुझे नहीं पता कि यह कैसे काम करता है।"],
    "bn": ["জার্মানির রাজধানী কী?", "আমার জন্য এই লেখার একটি সারাংশ লিখুন।"],
    "zh": ["德国的首都是哪里?", "请帮我总结一下这篇文章。", "我不知道这个程序怎么用。"],
    "ja": ["ドイツの首都はどこですか?", "この文章を要約してください。", "このプログラムの使い方がわかりません。"],
    "ko": ["독일의 수도는 어디입니까?", "이 글을 요약해 주세요."],
    "vi": ["Thủ đô của Đức là gì?", "Hãy viết cho tôi một bản tóm tắt của văn bản này.", "Tôi không biết chương trình này hoạt động như thế nào."],
    "id": ["Apa ibu kota Jerman?", "Tolong buatkan ringkasan dari teks ini untuk saya.", "Saya tidak tahu bagaimana program ini bekerja."],
    "th": ["เมืองหลวงของเยอรมนีคืออะไร", "กรุณาสรุปข้อความนี้ให้ฉันหน่อย"],
    "sv": ["Vad är huvudstaden i Tyskland?", "Jag vet inte hur det här programmet fungerar, kan du hjälpa mig?"],
    "cs": ["Jaké je hlavní město Německa?", "Nevím, jak tento program funguje, můžeš mi prosím pomoci?"],
    "ro": ["Care este capitala Germaniei?", "Nu știu cum funcționează acest program, poți să mă ajuți?"],
    "fi": ["Mikä on Saksan pääkaupunki?", "En tiedä, miten tämä ohjelma toimii, voitko auttaa minua?"],
    "hu": ["Mi Németország fővárosa?", "Nem tudom, hogyan működik ez a program, segítenél nekem?"],
    "el": ["Ποια είναι η πρωτεύουσα της Γερμανίας;"],
    "he": ["מהי בירת גרמניה?", "אני לא יודע איך התוכנית הזאת עובדת."],
    "ta": ["ஜெர்மனியின் தலைநகரம் எது?"],
    "te": ["జర్మనీ రాజధాని ఏది?"],
}


@pytest.mark.parametrize(("code", "sentence"), [(code, sentence) for code, sentences in SENTENCES.items() for sentence in sentences])
def test_sentences(code: str, sentence: str) -> None:
    assert language(sentence) == code


@pytest.mark.parametrize(
    "text",
    [
        *("", "ok", "Hi", "Berlin?", "GPT-4o", "123 456", "🙂🙂🙂", "?!", "\n\n"),
        *("Toyota Corolla 2019 hybrid", "Lorem ipsum dolor sit amet", "sudo apt install nginx", "https://example.com/the/path/of/this"),
        "def f(x): return x",
    ],
)
def test_too_little_to_tell(text: str) -> None:
    assert language(text) is None


def test_code_and_addresses_are_no_prose() -> None:
    assert (
        language("```python\nfor the_one in that_list:\n    print(this, is_, of, the, and_)\n```\nWas macht dieser Code und warum ist er so langsam?")
        == "de"
    )
    assert language("Что это такое и как это работает? https://example.com/what/is/this/and/that") == "ru"


def test_the_beginning_decides_of_a_long_text() -> None:
    german, english = SENTENCES["de"][1] + " ", SENTENCES["en"][1] + " "
    assert language(german * 50 + english * 5000) == "de"


@given(st.text(max_size=400))
def test_total(text: str) -> None:
    found = language(text)
    assert found is None or (len(found) == 2 and found.islower())
