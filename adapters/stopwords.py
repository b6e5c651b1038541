"""Words that say little about what a text is of, by language. Few, since a name or a month may look like one."""

from __future__ import annotations

_ENGLISH = """
a an and any are as at be been but by cant did didnt do does doesnt dont for from had has have he her hers him his how i if
in into is isnt it its me my no not of on or our ours she so than that the their them then there these they this those to
too us was wasnt we were what when where which who whom whose why wont with would you your yours
"""
_GERMAN = """
aber als am an auch auf aus bei bin bis da das dass dein dem den der des dich die dir du ein eine einem einen einer eines
er es euch für habe haben hat hatte ich ihr ihm ihn im in ist ja kann mein mich mir mit nach nicht noch nur ob oder sein
seine sich sie sind so um und uns von vor war waren was wie wir wird wo zu zum zur
"""
_FRENCH = """
a ai au aux avec ce ces cette dans de des du elle elles en est et eu il ils je la le les leur lui ma mais me mes moi mon ne
nos notre nous on ou où par pas pour qu que qui sa se ses si son sont sur ta te tes toi ton tu un une vos votre vous y été
"""
_SPANISH = """
a al como con cual de del donde e el ella ellos en era es esta este fue ha han hay la las le les lo los me mi mis muy nos o
para pero por que qué quien se ser si sin sobre son su sus te tu tus un una unas unos y ya yo
"""
_ITALIAN = """
a ai al alla anche che chi ci come con cui da dal dalla dei del della delle di e è ed era gli ha hai ho i il in io la le lei
lo loro lui ma mi mia mio nei nel nella noi non o per perché più quale quando se si sono su sua suo ti tra tu un una uno vi
"""
_PORTUGUESE = """
a ao aos as com como da das de do dos e é ela ele em era essa esse esta este eu foi há isso já lhe mais mas me meu minha na
não nas no nos o os ou para pela pelo por qual quando que quem se sem ser seu sua são te tem um uma você
"""
_DUTCH = """
aan als bij dan dat de den der deze die dit door een en er had heb heeft het hij hoe ik in is je kan maar me met mij mijn
na naar niet nog nu of om onder ons ook op over te tot uit van voor was wat we wel wie wij wordt zal ze zich zij zijn zo
"""
_RUSSIAN = """
а без был была были было быть в вас вот вы где да для до его ее если есть еще ей же за и из или им их к как когда которые
кто ли мне мы на над не него нее нет ни но ну о об он она они от по под при с со так там то тоже только ты у уже чем что
эта эти это я
"""

STOPWORDS = {
    "english": frozenset(_ENGLISH.split()),
    "german": frozenset(_GERMAN.split()),
    "french": frozenset(_FRENCH.split()),
    "spanish": frozenset(_SPANISH.split()),
    "italian": frozenset(_ITALIAN.split()),
    "portuguese": frozenset(_PORTUGUESE.split()),
    "dutch": frozenset(_DUTCH.split()),
    "russian": frozenset(_RUSSIAN.split()),
}
